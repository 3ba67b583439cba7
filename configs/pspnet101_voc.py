"""PSPNet101 on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/pspnet101_voc.py --workdir=W --config.data.source=VOCdevkit

Recipe and departures: as pspnet50_voc.py, with ResNet-101. Published on the 1,449 validation images: mean IU
79.07, with several scales 79.63 (semseg); on the test server 82.6, 85.4 from COCO (paper). Within 1.0 counts
as reproduced.
"""

from configs import base, pspnet50_voc

PUBLISHED = (
  base.published('val', 'semseg', within=1.0, mean_iu=79.07),
  base.published('val', 'semseg', scales='several', mean_iu=79.63),
  base.published('server', 'PSPNet (arXiv:1612.01105)', mean_iu=82.6),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_voc.get_config()
  with config.unlocked():
    config.model.depth = 101
  return base.variant(config, arg)
