"""DecoupledNet on the procedural dataset, stage 2 with every mask.

  python -m jseg.main --config=configs/decouplednet_full_shapes.py --workdir=runs/full \
    --config.init_from=runs/cls

No paper has this row. The classification network is that of decouplednet_cls_shapes, and stays as it is.
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(
    name='decouplednet', width=16, window=1, encoder_norm='bn', filler='he', candidates=0, rule='squared',
    threshold=0.5,
  )  # fmt: skip
  config.task = base.section(name='decoupled', stage='segment', preprocess='unit', query='class')
  config.data.name = 'shapes'
  config.data.options = base.section(size=64, train=2000, val=200)
  config.data.batch_size, config.data.crop = 16, (64, 64)
  config.augment.flip, config.augment.translate = True, 4
  config.optim.name, config.optim.lr, config.optim.schedule = 'adam', 1e-3, 'cosine'
  config.optim.warmup, config.optim.groups = 50, (('^(encoder|fc6|fc7|score)/', 0.0, 0.0),)
  config.train.steps, config.train.log_every, config.train.save_every = 1000, 50, 500
  return base.variant(config, arg)
