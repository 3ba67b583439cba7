"""FCN-32s on VGG16 on NYUDv2, 40 classes, colour alone.

  python -m jseg.main --config=configs/fcn32s_nyudv2.py --workdir=W --config.data.source=NYUDV2

Source of the recipe: fcn.berkeleyvision.org, nyud-fcn32s-color: as fcn32s_voc.py, on the 795 training
images. Departure: the mean is VOC's, theirs is (116.190, 97.203, 92.318) in BGR. Published on the 654 test
images: mean IU 29.2, pixel accuracy 60.0, class 42.2, frequency-weighted 43.9 (CVPR paper, table 4); within
1.0 counts as reproduced. The rows that join colour with depth or HHA in one network are not built.
"""

from configs import base, fcn32s_voc

PUBLISHED = (
  base.published(
    'test',
    'FCN (CVPR 2015), table 4',
    within=1.0,
    mean_iu=29.2,
    pixel_accuracy=60.0,
    mean_accuracy=42.2,
    frequency_weighted_iu=43.9,
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn32s_voc.get_config()
  with config.unlocked():
    config.data.crop = ()
    config.data.name, config.data.train_split, config.eval.split = 'nyudv2', 'train', 'test'
  return base.variant(config, arg)
