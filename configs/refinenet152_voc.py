"""RefineNet-152 on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/refinenet152_voc.py --workdir=W --config.data.source=VOCdevkit

Recipe and departures: as refinenet_voc.py, with ResNet-152. Published on the test server: 84.2, after COCO,
with several scales.
"""

from configs import base, refinenet_voc

PUBLISHED = (
  base.published(
    'server', 'RefineNet (arXiv:1611.06612)', scales='several', unlike='after COCO', mean_iu=84.2
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = refinenet_voc.get_config()
  with config.unlocked():
    config.model.depth = 152
  return base.variant(config, arg)
