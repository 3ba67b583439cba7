"""FCN-Basic-NoDimReduction on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/fcn_basic_noreduction_camvid.py --workdir=W --config.data.source=CAMVID

Recipe and departure: as fcn_basic_camvid.py, another row of the same table (SegNet, PAMI 2017, table 1).
Published on the 233 test images from the 367 training images: 50.1 mean IU, 84.1 global, 63.4 class; 1.625M
parameters, here 1,661,579 (with biases and normalisation).
"""

from configs import base, fcn_basic_camvid

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 1', mean_iu=50.1, pixel_accuracy=84.1, mean_accuracy=63.4
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_basic_camvid.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn_basic', reduction=False)
  return base.variant(config, arg)
