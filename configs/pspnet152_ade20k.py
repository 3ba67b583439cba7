"""PSPNet152 on ADE20K, 150 classes.

  python -m jseg.main --config=configs/pspnet152_ade20k.py --workdir=W --config.data.source=ADE20K

Recipe and departures: as pspnet50_ade20k.py, with ResNet-152. Published: 42.62 mean IU and 80.80 pixel
accuracy, 43.51 with several scales (paper, tables 3 and 5); within 1.0 counts as reproduced.
"""

from configs import base, pspnet50_ade20k


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_ade20k.get_config()
  with config.unlocked():
    config.model.depth = 152
  return base.variant(config, arg)
