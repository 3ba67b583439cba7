"""FCN-32s on VGG16 on NYUDv2, 40 classes, HHA alone: disparity, height and angle in place of colours.

  python -m jseg.main --config=configs/fcn32s_hha_nyudv2.py --workdir=W --config.data.source=NYUDV2

Source of the recipe: fcn.berkeleyvision.org, nyud-fcn32s-hha: as fcn32s_voc.py, on the 795 training images,
less the mean of HHA. Departure: of the owners' files HHA is computed by jseg.data.depths.hha; with FCN's own
folder it is theirs. Published on the 654 test images: mean IU 24.2, pixel accuracy 57.1, class 35.2,
frequency-weighted 40.4 (CVPR paper, table 4); within 1.0 counts as reproduced.
"""

from configs import base, fcn32s_nyudv2

PUBLISHED = (
  base.published(
    'test',
    'FCN (CVPR 2015), table 4',
    within=1.0,
    mean_iu=24.2,
    pixel_accuracy=57.1,
    mean_accuracy=35.2,
    frequency_weighted_iu=40.4,
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn32s_nyudv2.get_config()
  config.data.name, config.task.preprocess = 'nyudv2_hha', 'hha'
  return base.variant(config, arg)
