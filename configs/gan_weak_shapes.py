"""Weakly supervised adversarial training on the procedural dataset: few masks, and tags of all other images.

  python -m jseg.main --config=configs/gan_weak_shapes.py --workdir=W

No paper has this row. As gan_semi_shapes, but the generator is given tags, and the network learns from them.
"""

from configs import base, gan_semi_shapes


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = gan_semi_shapes.get_config()
  config.task.conditional = True
  return base.variant(config, arg)
