"""LinkNet on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/linknet_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Recipe: as linknet_camvid.py without class weights, on images of 512x1024: crops of that size from images
scaled by a half. Published on the 500 validation images at that size: mean IU 58.6 (paper), which the
README's script prints as 60.78; its 76.4 is a class accuracy.
"""

from configs import base, linknet_camvid

PUBLISHED = (
  base.published('val', 'LinkNet (arXiv:1707.03718)', unlike='measured at 512x1024', mean_iu=58.6),
  base.published('val', 'e-lab/LinkNet', unlike='measured at 512x1024', mean_iu=60.78),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = linknet_camvid.get_config()
  with config.unlocked():
    config.task.class_weights = 'none'
    config.data.name, config.data.crop, config.augment.scale = 'cityscapes', (512, 1024), (0.5, 0.5)
    config.eval.scales, config.eval.batch_size, config.eval.every = (0.5,), 1, 3720
    config.train.steps, config.optim.milestones = 111_600, (37_200, 74_400)
  return base.variant(config, arg)
