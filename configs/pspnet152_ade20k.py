"""PSPNet152 on ADE20K, 150 classes.

  python -m jseg.main --config=configs/pspnet152_ade20k.py --workdir=W --config.data.source=ADE20K

Recipe and departures: as pspnet50_ade20k.py, with ResNet-152. Published: 42.62 mean IU and 80.80 pixel
accuracy, 43.51 with several scales (paper, tables 3 and 5); within 1.0 counts as reproduced.
"""

from configs import base, pspnet50_ade20k

PUBLISHED = (
  base.published(
    'val', 'PSPNet (arXiv:1612.01105), tables 3 and 5', within=1.0, mean_iu=42.62, pixel_accuracy=80.8
  ),
  base.published('val', 'PSPNet (arXiv:1612.01105), tables 3 and 5', scales='several', mean_iu=43.51),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_ade20k.get_config()
  with config.unlocked():
    config.model.depth = 152
  return base.variant(config, arg)
