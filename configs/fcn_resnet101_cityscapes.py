"""FCN on a dilated ResNet-101 on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/fcn_resnet101_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Recipe and departures: as fcn_resnet50_cityscapes.py, with ResNet-101. mmsegmentation's, whose head has one
convolution more, has 75.45 mean IU on the 500 validation images after 40,000 steps of 512x1024, 75.13 after
80,000.
"""

from configs import base, fcn_resnet50_cityscapes

PUBLISHED = (
  base.published(
    'val', 'mmsegmentation, 40,000 steps', unlike='one convolution more in the head', mean_iu=75.45
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_resnet50_cityscapes.get_config()
  with config.unlocked():
    config.model.depth = 101
  return base.variant(config, arg)
