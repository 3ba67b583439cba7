"""DecoupledNet on the procedural dataset, stage 2 with 10 masks of each class.

  python -m jseg.main --config=configs/decouplednet_seg10_shapes.py --workdir=runs/seg10 \
    --config.init_from=runs/cls

No paper has this row; decouplednet_cls_shapes gives the weights to start from.
"""

from configs import base, decouplednet_full_shapes


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = decouplednet_full_shapes.get_config()
  with config.unlocked():
    config.data.subset, config.task.query, config.augment.around = 'strong:10', 'set', 0.5
    config.train.steps, config.train.save_every = 600, 300
  return base.variant(config, arg)
