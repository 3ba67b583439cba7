"""DecoupledNet on the procedural dataset, stage 1: the classification network, from image tags alone.

  python -m jseg.main --config=configs/decouplednet_cls_shapes.py --workdir=runs/cls

No paper has this row. A narrow network (16 features at the top, fc6 1x1) from nothing, so that
VGG16 is normalised here and has no dropout, on 64-pixel images.
`decouplednet_{seg5,seg10,seg25,full}_shapes` start from its workdir.
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(
    name='decouplednet', width=16, window=1, encoder_norm='bn', filler='he', dropout=0.0
  )
  config.task = base.section(name='decoupled', stage='classify', preprocess='unit', seed_share=0.3)
  config.data.name, config.data.truth = 'shapes', 'tags'
  config.data.options = base.section(size=64, train=2000, val=200)
  config.data.batch_size = 16
  config.augment.flip, config.augment.translate = True, 4
  config.optim.name, config.optim.lr, config.optim.schedule = 'adam', 3e-3, 'cosine'
  config.optim.warmup = 100
  config.train.steps, config.train.log_every, config.train.save_every = 3000, 100, 1000
  return base.variant(config, arg)
