"""FC-DenseNet67 on CamVid, 11 classes, 480x360: the first stage, on crops.

  python -m jseg.main --config=configs/fcdensenet67_camvid.py --workdir=W --config.data.source=CAMVID

Recipe, second stage and departures: as fcdensenet103_camvid.py, with the layers of the paper's FC-DenseNet67.
Published on the 233 test images: 65.8 mean IU, 90.8 global (arXiv:1611.09326, table 3);
a reproduction (wjmaddox) has 61.6.
"""

from configs import base, fcdensenet103_camvid

PUBLISHED = (
  base.published('test', 'FC-DenseNet (arXiv:1611.09326), table 3', mean_iu=65.8, pixel_accuracy=90.8),
  base.published('test', 'wjmaddox', mean_iu=61.6),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcdensenet103_camvid.get_config()
  config.model = base.section(name='fc_densenet', growth=16, down=(5,) * 5, bottom=5, remat=False)
  return base.variant(config, arg)
