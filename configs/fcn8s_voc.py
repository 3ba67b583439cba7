"""FCN-8s on VGG16 on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/fcn8s_voc.py --workdir=W --config.data.source=VOCdevkit

Recipe and departure: as fcn32s_voc.py at a rate of 1e-14, from that network's weights:
--config.init_from=WORKDIR_OF_FCN16S; from scratch this recipe does not move. Published on the 736 images of
seg11valid: mean IU 65.5 (released weights), 65.49 (wkentaro/pytorch-fcn); within 1.0 counts as reproduced.
"""

from configs import base, fcn32s_voc

PUBLISHED = (
  base.published('seg11valid', 'released weights, fcn.berkeleyvision.org', within=1.0, mean_iu=65.5),
  base.published('seg11valid', 'wkentaro/pytorch-fcn', mean_iu=65.49),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn32s_voc.get_config()
  with config.unlocked():
    config.model.stride, config.optim.lr = 8, 1e-14
  return base.variant(config, arg)
