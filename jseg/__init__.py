"""jseg: the classic networks of semantic segmentation in JAX, number for number."""

__version__ = '0.1.0'


def load(workdir, which: str = 'best'):
  """A trained run, ready to predict: `jseg.load('runs/one').predict(image)`; see jseg.predict.load."""
  from jseg import predict  # here, since importing jseg should cost nothing

  return predict.load(workdir, which)
