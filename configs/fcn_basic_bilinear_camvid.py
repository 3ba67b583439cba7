"""Bilinear-Interpolation (the encoder of FCN-Basic, nothing learned after it) on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/fcn_basic_bilinear_camvid.py --workdir=W --config.data.source=CAMVID

Recipe and departure: as fcn_basic_camvid.py, another row of the same table (SegNet, PAMI 2017, table 1).
Published on the 233 test images from the 367 training images: 43.3 mean IU, 77.9 global, 61.1 class; 0.625M
parameters, here 613,003 (with biases and normalisation).
"""

from configs import base, fcn_basic_camvid

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 1', mean_iu=43.3, pixel_accuracy=77.9, mean_accuracy=61.1
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_basic_camvid.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn_basic', upsample='bilinear', addition=False)
  return base.variant(config, arg)
