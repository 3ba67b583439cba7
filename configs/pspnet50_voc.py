"""PSPNet50 on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/pspnet50_voc.py --workdir=W --config.data.source=VOCdevkit

Recipe and departures: as pspnet50_ade20k.py, on the 10,582 images of VOC and SBD (trainaug), 30,000 steps
(paper, section 5.1). Published on the 1,449 validation images: mean IU 77.05, with several scales 78.02
(semseg, 50 epochs); within 1.0 counts as reproduced.
"""

from configs import base, pspnet50_ade20k

PUBLISHED = (
  base.published('val', 'semseg', within=1.0, mean_iu=77.05),
  base.published('val', 'semseg', scales='several', mean_iu=78.02),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_ade20k.get_config()
  with config.unlocked():
    config.data.name, config.data.train_split = 'voc', 'trainaug'
    config.eval.every, config.train.steps = 3000, 30_000
  return base.variant(config, arg)
