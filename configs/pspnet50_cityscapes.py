"""PSPNet50 on Cityscapes, 19 classes.

  python -m jseg.main --config=configs/pspnet50_cityscapes.py --workdir=W --config.data.source=CITYSCAPES

Recipe and departures: as pspnet50_ade20k.py, on crops of 713, 90,000 steps. Published on the 500 validation
images: mean IU 77.30, with several scales 78.38 (semseg, 200 epochs); mmsegmentation's form, whole images,
has 78.55 after 80,000 steps of 512x1024. Within 1.0 counts as reproduced.
"""

from configs import base, pspnet50_ade20k

PUBLISHED = (
  base.published('val', 'semseg', within=1.0, mean_iu=77.3),
  base.published('val', 'semseg', scales='several', mean_iu=78.38),
  base.published(
    'val', 'mmsegmentation, 80,000 steps', unlike='crops of 512x1024, measured whole', mean_iu=78.55
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_ade20k.get_config()
  with config.unlocked():
    config.data.name, config.data.crop = 'cityscapes', (713, 713)
    config.eval.window, config.eval.every, config.train.steps = (713, 713), 5000, 90_000
  return base.variant(config, arg)
