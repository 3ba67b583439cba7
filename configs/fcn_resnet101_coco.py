"""FCN on a dilated ResNet-101 on COCO with VOC's classes, 21 of them.

  python -m jseg.main --config=configs/fcn_resnet101_coco.py --workdir=W --config.data.source=COCO

Recipe and departures: as fcn_resnet50_coco.py, with ResNet-101. Published on the 5,000 validation images:
mean IU 63.7, pixel accuracy 91.9; within 1.5 counts as reproduced.
"""

from configs import base, fcn_resnet50_coco

PUBLISHED = (base.published('val', 'torchvision', within=1.5, mean_iu=63.7, pixel_accuracy=91.9),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_resnet50_coco.get_config()
  with config.unlocked():
    config.model.depth = 101
  return base.variant(config, arg)
