"""RefineNet-101 on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/refinenet_voc.py --workdir=W --config.data.source=VOCdevkit

Source: Lin et al. (arXiv:1611.06612) and guosheng/refinenet: SGD at 5e-4, a tenth of it for the ResNet,
momentum 0.9, weight decay 5e-4, one image a step, scales 0.7 to 1.3, flips, crops of 400 around a class drawn
from those of the image, statistics of the ResNet's normalisation frozen, the loss at a quarter of the size;
the authors drop the rate by hand, here after two thirds and again after eight ninths of 450,000 steps.
ResNet-101 comes from ImageNet: name its weights in `init_from`; frozen statistics need them. Departure: no
pretraining on COCO. Published: 83.4 on the test server, after COCO, with several scales; the authors' model
converted to PyTorch has 80.5 on the 1,449 validation images with one scale. Within 1.0 counts as reproduced,
from the same pretraining.
"""

from configs import base

PUBLISHED = (
  base.published(
    'server', 'RefineNet (arXiv:1611.06612)', scales='several', unlike='after COCO', mean_iu=83.4
  ),
  base.published('val', "the authors' model in PyTorch", unlike='after COCO', mean_iu=80.5),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='refinenet', depth=101, remat=False)
  config.task = base.section(name='semantic', preprocess='imagenet', losses=(('score', 1.0),))
  config.data.name, config.data.train_split, config.data.batch_size = 'voc', 'trainaug', 1
  config.data.crop, config.augment.rare = (400, 400), 1.0
  config.augment.flip, config.augment.scale = True, (0.7, 1.3)
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 5e-4, 0.9
  config.optim.schedule, config.optim.gamma, config.optim.milestones = 'step', 0.1, (300_000, 400_000)
  config.optim.weight_decay = 5e-4
  config.optim.groups = (('^encoder', 0.1, 1.0),)
  config.eval.split, config.eval.every, config.eval.batch_size = 'val', 25_000, 1
  config.train.steps, config.train.save_every = 450_000, 2000
  return base.variant(config, arg)
