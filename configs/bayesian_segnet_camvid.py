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

from configs import base, segnet_camvid

PUBLISHED = (
  base.published(
    'test',
    'Kendall et al. (arXiv:1511.02680)',
    unlike='3,433 training images of several datasets',
    mean_iu=63.1,
    pixel_accuracy=86.9,
    mean_accuracy=76.3,
  ),
  base.published('test', 'a retraining by others', mean_iu=52.0, pixel_accuracy=85.0, mean_accuracy=70.0),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_camvid.get_config()
  with config.unlocked():
    config.model.dropout, config.eval.samples, config.train.steps = 0.5, 4, 60_000
    # As in its prototxt: biases at twice the rate, not decayed; the shifts of BN layers at the plain one.
    config.optim.groups = (('bn/bias', 1.0, 0.0), ('bias', 2.0, 0.0))
  return base.variant(config, arg)
