"""DeconvNet on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/deconvnet_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet (PAMI 2017), table 3, which trains all networks alike: SGD at 1e-3 fixed, momentum 0.9, batch
5, no class balancing; weight decay 5e-4, the mean subtracted and the rates of biases as the authors' own
prototxt for VOC (there: 224x224 crops of object proposals, 0.01, batch 64, 40,000 iterations in the second
of two stages). 40,000 iterations are the shortest runs of that table, the figure is of a longer one.
Published: 59.77 mean IU, 89.58 global, 70.24 class from 3,433 training images of several datasets; 48.9 /
85.9 in FC-DenseNet's table 3 from the 367. Both start from an ImageNet VGG16: name its converted weights in
`init_from`; from scratch is a departure, and so is the number of images here.
"""

from configs import base

PUBLISHED = (
  base.published(
    'test',
    'SegNet (PAMI 2017), table 3',
    unlike='3,433 training images of several datasets',
    mean_iu=59.77,
    pixel_accuracy=89.58,
    mean_accuracy=70.24,
  ),
  base.published('test', 'FC-DenseNet (arXiv:1611.09326), table 3', mean_iu=48.9, pixel_accuracy=85.9),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  # In its quick form an eighth as wide: 252M parameters take minutes and gigabytes on any CPU.
  config.model = base.section(name='deconvnet', width=8 if arg == 'quick' else 64)
  config.task = base.section(name='semantic', preprocess='caffe')
  config.data.name, config.data.batch_size = 'camvid', 5
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 1e-3, 0.9
  config.optim.weight_decay = 5e-4
  # Caffe's convolutions: biases at twice the rate, not decayed; its BN layers decay both of theirs.
  config.optim.groups = (('bn/bias', 1.0, 1.0), ('bias', 2.0, 0.0))
  config.eval.split, config.eval.every = 'val', 1000
  config.train.steps, config.train.save_every, config.train.recalibrate = 40_000, 1000, 74
  return base.variant(config, arg)
