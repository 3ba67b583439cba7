"""PSPNet101 on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/pspnet101_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Recipe and departures: as pspnet50_cityscapes.py, with ResNet-101. Published on the 500 validation images:
mean IU 78.63, with several scales 79.29 (semseg), 79.70 and 80.91 (the authors' Caffe models); on the test
server 78.4, with coarse labels 80.2 (paper). Within 1.0 counts as reproduced.
"""

from configs import base, pspnet50_cityscapes

PUBLISHED = (
  base.published('val', 'semseg', within=1.0, mean_iu=78.63),
  base.published('val', 'semseg', scales='several', mean_iu=79.29),
  base.published('val', "the authors' Caffe model", mean_iu=79.7),
  base.published('val', "the authors' Caffe model", scales='several', mean_iu=80.91),
  base.published('server', 'PSPNet (arXiv:1612.01105)', mean_iu=78.4),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_cityscapes.get_config()
  with config.unlocked():
    config.model.depth = 101
  return base.variant(config, arg)
