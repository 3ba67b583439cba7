"""SegNet (VGG16 encoder) on ADE20K, 150 classes.

  python -m jseg.main --config=configs/segnet_ade20k.py --workdir=W --config.data.source=ADE20K

No recipe is published: that of segnet_sunrgbd.py. Published on the 2,000 validation images as a baseline:
mean IU 21.64, pixel accuracy 71.00 (PSPNet, table 4).
"""

from configs import base, segnet_sunrgbd

PUBLISHED = (base.published('val', 'PSPNet (arXiv:1612.01105), table 4', mean_iu=21.64, pixel_accuracy=71.0),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_sunrgbd.get_config()
  with config.unlocked():
    config.data.name, config.eval.split = 'ade20k', 'val'
  return base.variant(config, arg)
