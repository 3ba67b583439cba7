"""Bayesian SegNet (VGG16 encoder) on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/bayesian_segnet_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet-Tutorial, bayesian_segnet_{train,solver,inference}.prototxt: SegNet with dropout of 0.5 after
pools 3 to 5 and decoder stages 5 to 3, the recipe of segnet_camvid.py for 60,000 iterations,
normalisation's shifts not decayed; tested by 4 stochastic passes, the inference file's batch (the paper
takes 50).
Published: 63.1 mean IU, 86.9 global, 76.3 class, from the model that had 3,433 images of other datasets to
train on; a retraining on the 367 by others reports 52 / 85 / 70. Both start from an ImageNet encoder: name
converted weights in `init_from`; from scratch is a departure.
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='segnet', dropout=0.5)
  config.task = base.section(name='semantic', preprocess='bgr', class_weights='prototxt')
  config.data.name, config.data.batch_size = 'camvid', 4
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 1e-3, 0.9
  config.optim.weight_decay = 5e-4
  # Caffe's convolutions: biases at twice the rate, not decayed; the shifts of its BN layers at the plain one.
  config.optim.groups = (('bn/bias', 1.0, 0.0), ('bias', 2.0, 0.0))
  config.eval.split, config.eval.every, config.eval.samples = 'val', 1000, 4
  config.train.steps, config.train.save_every, config.train.recalibrate = 60_000, 500, 92
  return base.variant(config, arg)
