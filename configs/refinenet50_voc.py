"""RefineNet-50 on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/refinenet50_voc.py --workdir=W --config.data.source=VOCdevkit

Recipe and departures: as refinenet_voc.py, with ResNet-50, on the 1,464 images of VOC alone, as the demo
model of guosheng/refinenet, which has 69.1 mean IU on the 1,449 validation images. Within 1.0 counts as
reproduced.
"""

from configs import base, refinenet_voc

PUBLISHED = (base.published('val', 'guosheng/refinenet, demo model', within=1.0, mean_iu=69.1),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = refinenet_voc.get_config()
  with config.unlocked():
    config.model.depth, config.data.train_split = 50, 'train'
  return base.variant(config, arg)
