"""FC-DenseNet56 on CamVid, 11 classes, 480x360: the first stage, on crops.

  python -m jseg.main --config=configs/fcdensenet56_camvid.py --workdir=W --config.data.source=CAMVID

Recipe, second stage and departures: as fcdensenet103_camvid.py, with the layers of the paper's FC-DenseNet56.
Published on the 233 test images: 58.9 mean IU, 88.9 global (arXiv:1611.09326, table 3).
"""

from configs import base, fcdensenet103_camvid

PUBLISHED = (
  base.published('test', 'FC-DenseNet (arXiv:1611.09326), table 3', mean_iu=58.9, pixel_accuracy=88.9),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcdensenet103_camvid.get_config()
  config.model = base.section(name='fc_densenet', growth=12, down=(4,) * 5, bottom=4, remat=False)
  return base.variant(config, arg)
