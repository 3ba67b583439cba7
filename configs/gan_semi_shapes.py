"""Adversarial training on the procedural dataset: few masks, and all images.

  python -m jseg.main --config=configs/gan_semi_shapes.py --workdir=W

No paper has this row. The network, masks and rate of gan_supervised_shapes, and as many images without masks
beside each batch, and as many generated ones: a third of its steps. The generator is narrow (64 features).
"""

from configs import base, gan_supervised_shapes


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = gan_supervised_shapes.get_config()
  with config.unlocked():
    config.task = base.section(
      name='semi', preprocess='unit', form='fixed', conditional=False, generator_loss='saturating',
      generator_width=64, unlabelled_weight=0.5, generated_weight=0.5,
    )  # fmt: skip
    config.data.rest_batch_size = config.data.batch_size
    config.train.steps, config.train.log_every, config.train.save_every = 600, 50, 300
    config.optim.groups = (('^generator/', 0.2, 1.0),)
  return base.variant(config, arg)
