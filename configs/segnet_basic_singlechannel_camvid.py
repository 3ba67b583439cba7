r"""SegNet-Basic-SingleChannelDecoder on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/segnet_basic_singlechannel_camvid.py --workdir=W \
    --config.data.source=CAMVID

Recipe and departure: as fcn_basic_camvid.py, another row of the same table (SegNet, PAMI 2017, table 1).
Published on the 233 test images from the 367 training images: 46.1 mean IU, 81.2 global, 60.7 class; 0.625M
parameters, here 626,315 (with biases and normalisation).
"""

from configs import base, fcn_basic_camvid

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 1', mean_iu=46.1, pixel_accuracy=81.2, mean_accuracy=60.7
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_basic_camvid.get_config()
  with config.unlocked():
    config.model = base.section(name='segnet_basic', filters='single')
  return base.variant(config, arg)
