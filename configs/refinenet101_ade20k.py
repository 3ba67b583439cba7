"""RefineNet-101 on ADE20K, 150 classes.

  python -m jseg.main --config=configs/refinenet101_ade20k.py --workdir=W --config.data.source=ADE20K

Recipe and departures: as refinenet_voc.py, with the improved pooling, convolution before pool, of the
released models for this set. Published on the 2,000 validation images: 40.2 mean IU, with several scales.
Within 1.0 counts as reproduced.
"""

from configs import base, refinenet_voc

PUBLISHED = (
  base.published('val', 'RefineNet (arXiv:1611.06612)', scales='several', within=1.0, mean_iu=40.2),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = refinenet_voc.get_config()
  with config.unlocked():
    config.model = base.section(name='refinenet', depth=101, crp_order='conv_pool', remat=False)
    config.data.name, config.data.train_split = 'ade20k', 'train'
  return base.variant(config, arg)
