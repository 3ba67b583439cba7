"""SegNet (VGG16 encoder) on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/segnet_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Source: SegNet was not published on Cityscapes by its authors; ENet's table quotes 56.1 class IU on the test
server. Recipe: as segnet_camvid.py without class balancing, on images scaled by a half (512x1024).
"""

from configs import base, segnet_camvid

PUBLISHED = (base.published('server', "ENet's table", mean_iu=56.1),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_camvid.get_config()
  with config.unlocked():
    config.task.class_weights = 'none'
    config.data.name, config.data.crop, config.augment.scale = 'cityscapes', (512, 1024), (0.5, 0.5)
    config.eval.scales, config.eval.batch_size = (0.5,), 1
  return base.variant(config, arg)
