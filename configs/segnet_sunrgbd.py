"""SegNet (VGG16 encoder) on SUN RGB-D, 37 classes.

  python -m jseg.main --config=configs/segnet_sunrgbd.py --workdir=W --config.data.source=SUNRGBD

Source: SegNet (PAMI 2017), section 4.2 and table 4: SGD at 1e-3, momentum 0.9, batch 5, 140,000 iterations,
colour alone, no class balancing (median frequency in its second row). Sizes differ from image to image, so
training is on crops of 360x480, a departure; the encoder starts from ImageNet: name its weights in
`init_from`. Published on the 5,050 test images: mean IU 31.84, global 72.63, class 44.76; within 1.0 counts
as reproduced.
"""

from configs import base, segnet_camvid

PUBLISHED = (
  base.published(
    'test',
    'SegNet (PAMI 2017), table 4',
    within=1.0,
    mean_iu=31.84,
    pixel_accuracy=72.63,
    mean_accuracy=44.76,
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_camvid.get_config()
  with config.unlocked():
    config.task.class_weights = 'none'
    config.data.name, config.data.batch_size, config.data.crop = 'sunrgbd', 5, (360, 480)
    config.eval.split, config.eval.every, config.eval.batch_size = 'test', 20_000, 1
    config.train.steps, config.train.save_every = 140_000, 2000
  return base.variant(config, arg)
