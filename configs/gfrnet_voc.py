"""G-FRNet (VGG16 encoder) on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/gfrnet_voc.py --workdir=W --config.data.source=VOCdevkit

Recipe: as gfrnet_camvid.py without class weights, on the 10,582 images of VOC and SBD (trainaug) and crops
of 320x320; the paper does not print it for this set. Published on the 1,449 validation images: mean IU 68.7,
with sums for gates (`gate='sum'`) 66.76; within 1.0 counts as reproduced.
"""

from configs import base, gfrnet_camvid

PUBLISHED = (base.published('val', 'G-FRNet (CVPR 2017)', within=1.0, mean_iu=68.7),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = gfrnet_camvid.get_config()
  with config.unlocked():
    config.task.class_weights = 'none'
    config.data.name, config.data.train_split, config.data.crop = 'voc', 'trainaug', (320, 320)
    config.eval.batch_size = 1
  return base.variant(config, arg)
