"""FCN on a dilated ResNet-50 on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/fcn_resnet50_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Recipe and departures: as pspnet50_cityscapes.py, with the network that torchvision calls fcn_resnet50. No
figure is published for it here: mmsegmentation's, whose head has one convolution more, has 72.25 mean IU on
the 500 validation images after 40,000 steps of 512x1024, 73.61 after 80,000.
"""

from configs import base, pspnet50_cityscapes

PUBLISHED = (
  base.published(
    'val', 'mmsegmentation, 40,000 steps', unlike='one convolution more in the head', mean_iu=72.25
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_cityscapes.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn_resnet', depth=50, remat=False)
  return base.variant(config, arg)
