"""FCN-Basic on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/fcn_basic_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet (PAMI 2017), section 3.2 and table 1: SGD at 0.1 fixed, momentum 0.9, batch 12,
median-frequency weights, validation every 1,000 iterations. Raw BGR, weight decay 5e-4 and 10,000
iterations are those of the released segnet_basic prototxts. Departure: the best checkpoint is that of the
best validation mean IU, the paper's that of the best validation global accuracy.
Published on the 233 test images from the 367 training images: 47.3 mean IU, 81.7 global, 62.4 class; 0.65M
parameters, here 646,124 (with biases and normalisation).
"""

from configs import base, segnet_basic_camvid

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 1', mean_iu=47.3, pixel_accuracy=81.7, mean_accuracy=62.4
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_basic_camvid.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn_basic')
    config.task.class_weights = 'median_frequency'
    config.data.batch_size, config.train.recalibrate = 12, 31
  return base.variant(config, arg)
