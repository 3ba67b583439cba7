"""RefineNet-152 on SUN RGB-D, 37 classes, colour alone.

  python -m jseg.main --config=configs/refinenet152_sunrgbd.py --workdir=W --config.data.source=SUNRGBD

Recipe and departures: as refinenet152_nyudv2.py. Published on the 5,050 test images: 45.9 mean IU, with
several scales (paper). Within 1.0 counts as reproduced.
"""

from configs import base, refinenet_voc

PUBLISHED = (
  base.published('test', 'RefineNet (arXiv:1611.06612)', scales='several', within=1.0, mean_iu=45.9),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = refinenet_voc.get_config()
  with config.unlocked():
    config.model = base.section(name='refinenet', depth=152, crp_order='conv_pool', remat=False)
    config.data.name, config.data.train_split, config.eval.split = 'sunrgbd', 'train', 'test'
  return base.variant(config, arg)
