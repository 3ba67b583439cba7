"""FCN-8s on VGG16, trained at once, on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/fcn8s_atonce_voc.py --workdir=W --config.data.source=VOCdevkit

Recipe and departure: as fcn32s_voc.py (voc-fcn8s-atonce) for 300,000 iterations, pool4 and pool3 scaled by
0.01 and 0.0001. Published on the 736 images of seg11valid: mean IU 65.4 (released weights), 64.74
(wkentaro/pytorch-fcn); within 1.0 counts as reproduced.
"""

from configs import base, fcn32s_voc

PUBLISHED = (
  base.published('seg11valid', 'released weights, fcn.berkeleyvision.org', within=1.0, mean_iu=65.4),
  base.published('seg11valid', 'wkentaro/pytorch-fcn', mean_iu=64.74),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn32s_voc.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn', stride=8, at_once=True)
    config.train.steps = 300_000
  return base.variant(config, arg)
