"""Bayesian SegNet-Basic on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/bayesian_segnet_basic_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet-Tutorial, bayesian_segnet_basic_{train,solver,inference}.prototxt: SegNet-Basic with dropout
of 0.5 after pools 3 and 4 and decoders 4 and 3, otherwise the recipe of segnet_basic_camvid.py; tested by 8
stochastic passes, the inference file's batch (the paper takes 50).
Published: no figure that could be checked; SegNet-Basic has 47.7 mean IU, 82.7 global, 62.0 class (SegNet,
PAMI 2017, table 1).
"""

from configs import base, segnet_basic_camvid


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = segnet_basic_camvid.get_config()
  with config.unlocked():
    config.model.dropout, config.eval.samples = 0.5, 8
  return base.variant(config, arg)
