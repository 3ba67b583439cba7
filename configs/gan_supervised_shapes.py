"""U-Net on few masks of the procedural dataset: the baseline of the others that learn from few.

  python -m jseg.main --config=configs/gan_supervised_shapes.py --workdir=W

No paper has this row. Four masks a class, unless --config.data.subset says another number. Three times the
steps of the adversarial runs, each of which takes three batches: as many images, in about the same time.
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='unet', padding='same', norm='bn', width=16, depth=4, dropout=0.0)
  config.task = base.section(name='semantic', preprocess='unit', class_weights='none')
  config.data.name, config.data.subset = 'shapes', 'strong:4'
  config.data.options = base.section(size=64, train=2000, val=200)
  config.data.batch_size, config.data.crop = 8, (64, 64)
  config.augment.flip, config.augment.translate = True, 4
  config.optim.name, config.optim.lr, config.optim.schedule = 'adam', 2e-3, 'cosine'
  config.optim.warmup = 50
  config.train.steps, config.train.log_every, config.train.save_every = 1800, 100, 600
  return base.variant(config, arg)
