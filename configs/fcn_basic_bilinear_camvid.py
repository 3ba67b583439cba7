"""Bilinear-Interpolation (the encoder of FCN-Basic, nothing learned after it) on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/fcn_basic_bilinear_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet (PAMI 2017), section 3.2 and table 1: SGD at 0.1 fixed, momentum 0.9, batch 12,
median-frequency weights, validation every 1,000 iterations. Raw BGR, weight decay 5e-4 and 10,000
iterations are those of the released segnet_basic prototxts. Departure: the best checkpoint is that of the
best validation mean IU, the paper's that of the best validation global accuracy.
Published on the 233 test images from the 367 training images: 43.3 mean IU, 77.9 global, 61.1 class; 0.625M
parameters, here 613,003 (with biases and normalisation).
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='fcn_basic', upsample='bilinear', addition=False)
  config.task = base.section(name='semantic', preprocess='bgr', class_weights='median_frequency')
  config.data.name, config.data.batch_size = 'camvid', 12
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 0.1, 0.9
  config.optim.weight_decay = 5e-4
  # Caffe's convolutions: biases at twice the rate, not decayed; its BN layers decay both of theirs.
  config.optim.groups = (('bn/bias', 1.0, 1.0), ('bias', 2.0, 0.0))
  config.eval.split, config.eval.every = 'val', 1000
  config.train.steps, config.train.save_every, config.train.recalibrate = 10_000, 500, 31
  return base.variant(config, arg)
