"""DecoupledNet on PASCAL VOC 2012, stage 1: the classification network, from image tags alone.

  python -m jseg.main --config=configs/decouplednet_cls_voc.py --workdir=W --config.data.source=VOCdevkit \
    --config.init_from=VGG_ILSVRC_16_layers.caffemodel

Source: Hong, Noh, Han (arXiv:1506.04924), sections 3.1 and 4: VGG16 from ImageNet, 20 sigmoid cross-entropies
on all images of VOC and SBD. Of this stage the authors released weights, but no solver: rate, steps and batch
are ours. `decouplednet_{seg5,seg10,seg25,full}_voc` start from its workdir. Published for those: 66.6 mean IU
with all masks, 62.5, 58.7 and 54.7 with 25, 10 and 5 a class (VOC 2012 test, the repository's README).
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='decouplednet', window=7, dropout=0.5)
  config.task = base.section(name='decoupled', stage='classify', preprocess='caffe', size=320, seed_share=0.3)
  config.data.name, config.data.train_split, config.data.truth = 'voc', 'trainaug', 'tags'
  config.data.batch_size, config.data.crop = 64, (320, 320)
  config.augment.flip, config.augment.scale = True, (0.7, 1.3)
  config.eval.every, config.eval.batch_size = 1000, 1
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 0.001, 0.9
  config.optim.schedule, config.optim.milestones, config.optim.gamma = 'step', (4000,), 0.1
  config.optim.weight_decay, config.optim.groups = 5e-4, (('^score/', 10.0, 1.0),)
  config.train.steps, config.train.save_every = 6000, 500
  return base.variant(config, arg)
