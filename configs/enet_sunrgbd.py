"""ENet on SUN RGB-D, 37 classes.

  python -m jseg.main --config=configs/enet_sunrgbd.py --workdir=W --config.data.source=SUNRGBD

Recipe: as enet_camvid.py without class weights, on crops of 360x480 since sizes differ from image to image;
the paper resizes to 256x200. Published on the 5,050 test images: mean IU 19.7 (paper).
"""

from configs import base, enet_camvid

PUBLISHED = (base.published('test', 'ENet (arXiv:1606.02147)', unlike='images of 256x200', mean_iu=19.7),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = enet_camvid.get_config()
  with config.unlocked():
    config.task.class_weights = 'none'
    config.data.name, config.data.crop = 'sunrgbd', (360, 480)
    config.eval.split, config.eval.batch_size, config.eval.every = 'test', 1, 5280
    config.train.steps, config.optim.milestones = 158_400, (52_800, 105_600)
  return base.variant(config, arg)
