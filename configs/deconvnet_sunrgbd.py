"""DeconvNet on SUN RGB-D, 37 classes.

  python -m jseg.main --config=configs/deconvnet_sunrgbd.py --workdir=W --config.data.source=SUNRGBD

Source: SegNet (PAMI 2017), table 4, which trains all networks alike: recipe as segnet_sunrgbd.py. Published
on the 5,050 test images: mean IU 22.57, global 66.13, class 32.28.
"""

from configs import base, segnet_sunrgbd

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 4', mean_iu=22.57, pixel_accuracy=66.13, mean_accuracy=32.28
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_sunrgbd.get_config()
  with config.unlocked():
    config.model = base.section(name='deconvnet')
    config.task = base.section(name='semantic', preprocess='caffe')
  return base.variant(config, arg)
