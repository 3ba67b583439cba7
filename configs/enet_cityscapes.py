"""ENet on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/enet_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Recipe: as enet_camvid.py, whose code is for both, on images of 512x1024: crops of that size from images
scaled by a half. Departures: no class weights, for want of the pixel counts; evaluation is of predictions
enlarged to 1024x2048. Published on the test server: 58.3 class IU (paper); on the 500 validation images
davidtvs/PyTorch-ENet has 59.4 to 60.1.
"""

from configs import base, enet_camvid

PUBLISHED = (
  base.published('server', 'ENet (arXiv:1606.02147)', mean_iu=58.3),
  base.published('val', 'davidtvs/PyTorch-ENet', mean_iu=59.4),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = enet_camvid.get_config()
  with config.unlocked():
    config.data.name, config.data.crop = 'cityscapes', (512, 1024)
    config.augment.scale = (0.5, 0.5)
    config.eval.scales, config.eval.batch_size = (0.5,), 1
    config.task.class_weights = 'none'
    config.train.steps, config.optim.milestones, config.eval.every = 89_250, (29_750, 59_500), 2975
  return base.variant(config, arg)
