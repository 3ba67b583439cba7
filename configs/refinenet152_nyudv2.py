"""RefineNet-152 on NYUDv2, 40 classes, colour alone.

  python -m jseg.main --config=configs/refinenet152_nyudv2.py --workdir=W --config.data.source=NYUDV2

Recipe and departures: as refinenet_voc.py, with ResNet-152 and the improved pooling, convolution before
pool, of the released models for this set. Published on the 654 test images: 46.5 mean IU, with several
scales (paper). Within 1.0 counts as reproduced.
"""

from configs import base, refinenet_voc

PUBLISHED = (
  base.published('test', 'RefineNet (arXiv:1611.06612)', scales='several', within=1.0, mean_iu=46.5),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = refinenet_voc.get_config()
  with config.unlocked():
    config.model = base.section(name='refinenet', depth=152, crp_order='conv_pool', remat=False)
    config.data.name, config.data.train_split, config.eval.split = 'nyudv2', 'train', 'test'
  return base.variant(config, arg)
