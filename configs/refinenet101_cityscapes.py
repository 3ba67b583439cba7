"""RefineNet-101 on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/refinenet101_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Recipe and departures: as refinenet_voc.py, on crops of 600. Published on the test server: 73.6 class IU,
with several scales (paper).
"""

from configs import base, refinenet_voc

PUBLISHED = (base.published('server', 'RefineNet (arXiv:1611.06612)', scales='several', mean_iu=73.6),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = refinenet_voc.get_config()
  with config.unlocked():
    config.data.name, config.data.train_split, config.data.crop = 'cityscapes', 'train', (600, 600)
  return base.variant(config, arg)
