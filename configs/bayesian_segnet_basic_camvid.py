"""Bayesian SegNet-Basic on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/bayesian_segnet_basic_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet-Tutorial, bayesian_segnet_basic_{train,solver,inference}.prototxt: SegNet-Basic with dropout
of 0.5 after pools 3 and 4 and decoders 4 and 3, otherwise the recipe of segnet_basic_camvid.py; tested by 8
stochastic passes, the inference file's batch (the paper takes 50).
Published: no figure that could be checked; SegNet-Basic has 47.7 mean IU, 82.7 global, 62.0 class (SegNet,
PAMI 2017, table 1).
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='segnet_basic', dropout=0.5)
  config.task = base.section(name='semantic', preprocess='bgr', class_weights='prototxt')
  config.data.name, config.data.batch_size = 'camvid', 4
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 0.1, 0.9
  config.optim.weight_decay = 5e-4
  # Caffe's convolutions: biases at twice the rate, not decayed; its BN layers decay both of theirs.
  config.optim.groups = (('bn/bias', 1.0, 1.0), ('bias', 2.0, 0.0))
  config.eval.split, config.eval.every, config.eval.samples = 'val', 1000, 8
  config.train.steps, config.train.save_every, config.train.recalibrate = 10_000, 500, 92
  return base.variant(config, arg)
