"""FCN-8s on VGG16 on SUN RGB-D, 37 classes.

  python -m jseg.main --config=configs/fcn8s_sunrgbd.py --workdir=W --config.data.source=SUNRGBD

Source: SegNet (PAMI 2017), table 4, which trains all networks alike: SGD at 1e-3, momentum 0.9, batch 5, up
to 140,000 iterations, no class balancing. Departure: upsampling is frozen, theirs is the "FCN" of that table
whose form it does not say. Published on the 5,050 test images: mean IU 27.39, global 68.18, class 38.41.
"""

from configs import base, segnet_sunrgbd

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 4', mean_iu=27.39, pixel_accuracy=68.18, mean_accuracy=38.41
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_sunrgbd.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn', stride=8)
    config.task = base.section(name='semantic', preprocess='caffe')
    config.optim.groups = (('bias', 2.0, 0.0),)
    config.train.recalibrate = 0
  return base.variant(config, arg)
