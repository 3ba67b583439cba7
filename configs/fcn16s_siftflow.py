"""FCN-16s on VGG16 on SIFT Flow, 33 semantic classes.

  python -m jseg.main --config=configs/fcn16s_siftflow.py --workdir=W --config.data.source=SIFTFLOW

Source of the recipe: fcn.berkeleyvision.org, siftflow-fcn16s: as fcn32s_voc.py at 1e-12, from an FCN-32s
trained in the same way (--config.model.stride=32 --config.optim.lr=1e-10, then `init_from`). Departures: the
mean is VOC's, theirs is (114.578, 115.294, 108.353) in BGR; the geometric head, 3 classes, is left out.
Published on the 200 test images: mean IU 39.5, pixel accuracy 85.2, class 51.7, frequency-weighted 76.1
(table 5), over the classes that occur there; within 1.0 counts as reproduced.
"""

from configs import base, fcn32s_voc

PUBLISHED = (
  base.published(
    'test',
    'FCN (CVPR 2015), table 5',
    within=1.0,
    mean_iu=39.5,
    pixel_accuracy=85.2,
    mean_accuracy=51.7,
    frequency_weighted_iu=76.1,
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn32s_voc.get_config()
  with config.unlocked():
    config.data.crop = ()
    config.model.stride, config.optim.lr = 16, 1e-12
    config.data.name, config.data.train_split, config.eval.split = 'siftflow', 'train', 'test'
  return base.variant(config, arg)
