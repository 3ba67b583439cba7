"""FCN-Basic-NoAddition on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/fcn_basic_noaddition_camvid.py --workdir=W --config.data.source=CAMVID

Recipe and departure: as fcn_basic_camvid.py, another row of the same table (SegNet, PAMI 2017, table 1).
Published on the 233 test images from the 367 training images: 44.1 mean IU, 80.5 global, 58.6 class; 0.65M
parameters, here 643,979 (with biases and normalisation).
"""

from configs import base, fcn_basic_camvid

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 1', mean_iu=44.1, pixel_accuracy=80.5, mean_accuracy=58.6
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_basic_camvid.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn_basic', addition=False)
  return base.variant(config, arg)
