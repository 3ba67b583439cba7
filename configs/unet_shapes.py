"""U-Net with same padding and BatchNorm on the procedural dataset: the quick start.

  python -m jseg.main --config=configs/unet_shapes.py --workdir=runs/quickstart

No paper has this row. A narrow network (16 features at the top) on 48-pixel images, so that two CPU cores
train it in about three minutes.
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='unet', padding='same', norm='bn', width=16, depth=4, dropout=0.0)
  config.data.name = 'shapes'
  config.data.options = base.section(size=48, train=2000, val=200)
  config.data.batch_size = 8
  config.augment.flip = True
  config.optim.name, config.optim.lr, config.optim.schedule = 'adam', 6e-3, 'cosine'
  config.optim.warmup = 100
  config.train.steps, config.train.log_every, config.train.save_every = 1300, 50, 650
  return base.variant(config, arg)
