"""DecoupledNet on PASCAL VOC 2012, stage 2 with every mask of trainaug.

  python -m jseg.main --config=configs/decouplednet_full_voc.py --workdir=W --config.data.source=VOCdevkit \
    --config.init_from=WORKDIR_OF_decouplednet_cls_voc

Source: Hong, Noh, Han (arXiv:1506.04924), section 4, and training/ of the authors' repository: SGD 0.01, a
tenth after every 10,000 steps, momentum 0.9, weight decay 5e-4, batch 64, crops of 320x320 from images
resized to 350, mirrored; one class of each image is queried. At test images fill a square that is resized to
320x320. Departures: images are scaled at random instead of resized to 350; statistics are averaged over 100
batches at the end, as the authors do. Published: 66.6 mean IU (test), with all masks.
"""

from configs import base

PUBLISHED = (base.published('server', "DecoupledNet's README", mean_iu=66.6),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='decouplednet', window=7, candidates=0, rule='squared', threshold=0.5)
  config.task = base.section(name='decoupled', stage='segment', preprocess='caffe', query='class', size=320)
  config.data.name, config.data.train_split = 'voc', 'trainaug'
  config.data.batch_size, config.data.crop = 64, (320, 320)
  config.augment.flip, config.augment.scale = True, (0.7, 1.3)
  config.eval.every, config.eval.batch_size = 2500, 1
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 0.01, 0.9
  config.optim.schedule, config.optim.milestones, config.optim.gamma = 'step', (10_000,), 0.1
  config.optim.weight_decay = 5e-4
  config.optim.groups = (('^(encoder|fc6|fc7|score)/', 0.0, 0.0),)
  config.train.steps, config.train.save_every, config.train.recalibrate = 17_500, 500, 100
  return base.variant(config, arg)
