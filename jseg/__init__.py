"""jseg: the classic networks of semantic segmentation in JAX, number for number."""

__version__ = '0.1.0'


def load(workdir, which: str = 'best'):
  """A trained run, ready to predict: `jseg.load('runs/one').predict(image)`; see engine.predictor."""
  from jseg.engine import predictor  # here, since importing jseg should cost nothing

  return predictor.load(workdir, which)
