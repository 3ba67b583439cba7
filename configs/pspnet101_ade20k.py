"""PSPNet101 on ADE20K, 150 classes.

  python -m jseg.main --config=configs/pspnet101_ade20k.py --workdir=W --config.data.source=ADE20K

Recipe and departures: as pspnet50_ade20k.py, with ResNet-101. Published: 41.96 mean IU and 80.64 pixel
accuracy on the validation images (paper, tables 3 and 5); 44.15 mean IU with several scales, 43.10 with one
(semseg); within 1.0 counts as reproduced.
"""

from configs import base, pspnet50_ade20k

PUBLISHED = (
  base.published(
    'val', 'PSPNet (arXiv:1612.01105), tables 3 and 5', within=1.0, mean_iu=41.96, pixel_accuracy=80.64
  ),
  base.published('val', 'semseg', mean_iu=43.1),
  base.published('val', 'semseg', scales='several', mean_iu=44.15),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_ade20k.get_config()
  with config.unlocked():
    config.model.depth = 101
  return base.variant(config, arg)
