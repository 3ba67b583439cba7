"""FCN-8s on VGG16 on ADE20K, 150 classes.

  python -m jseg.main --config=configs/fcn8s_ade20k.py --workdir=W --config.data.source=ADE20K

No recipe is published: that of fcn8s_atonce_voc.py. Published on the 2,000 validation images as a baseline:
mean IU 29.39, pixel accuracy 71.32 (PSPNet, table 4).
"""

from configs import base, fcn8s_atonce_voc

PUBLISHED = (
  base.published('val', 'PSPNet (arXiv:1612.01105), table 4', mean_iu=29.39, pixel_accuracy=71.32),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn8s_atonce_voc.get_config()
  with config.unlocked():
    config.data.crop = (512, 512)
    config.data.name, config.data.train_split, config.eval.split = 'ade20k', 'train', 'val'
  return base.variant(config, arg)
