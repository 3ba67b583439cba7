"""SegNet-Basic-EncoderAddition on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/segnet_basic_addition_camvid.py --workdir=W --config.data.source=CAMVID

Recipe and departure: as fcn_basic_camvid.py, another row of the same table (SegNet, PAMI 2017, table 1).
Published on the 233 test images from the 367 training images: 48.5 mean IU, 83.4 global, 63.6 class; 1.4M
parameters, here 1,416,587 (with biases and normalisation).
"""

from configs import base, fcn_basic_camvid

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 1', mean_iu=48.5, pixel_accuracy=83.4, mean_accuracy=63.6
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_basic_camvid.get_config()
  with config.unlocked():
    config.model = base.section(name='segnet_basic', addition=True)
  return base.variant(config, arg)
