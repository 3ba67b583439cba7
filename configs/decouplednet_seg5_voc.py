"""DecoupledNet on PASCAL VOC 2012, stage 2 with 5 masks of each class.

  python -m jseg.main --config=configs/decouplednet_seg5_voc.py --workdir=W --config.data.source=VOCdevkit \
    --config.init_from=WORKDIR_OF_decouplednet_cls_voc

Source: as decouplednet_full_voc, section 5.1 of the paper; rate after 4,000 of 5,500 steps a tenth. Which
images those are is data.subset_seed's to say: the authors' lists are not reproduced. Queries are sets of
classes, and half of the crops are laid around one: their combinatorial cropping, without region proposals.
Published: 54.7 (test).
"""

from configs import base, decouplednet_full_voc

PUBLISHED = (base.published('server', "DecoupledNet's README", mean_iu=54.7),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = decouplednet_full_voc.get_config()
  with config.unlocked():
    config.data.subset, config.task.query, config.augment.around = 'strong:5', 'set', 0.5
    config.optim.milestones, config.train.steps = (4000,), 5500
    config.eval.every = 2500
  return base.variant(config, arg)
