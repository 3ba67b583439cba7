"""FCN-32s on VGG16 on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/fcn32s_voc.py --workdir=W --config.data.source=VOCdevkit

Source of the recipe: fcn.berkeleyvision.org, voc-fcn32s: batch 1, whole images, the loss summed over pixels,
momentum 0.99, weight decay 5e-4, fixed rate 1e-10 for 100,000 iterations, biases at twice the rate without
decay. VGG16 comes from ImageNet: name its weights in `init_from`; from scratch this recipe does not move.
Departures: the authors train on the 8,498 images of SBD's train split, here VOC's and SBD's together
(trainaug, 10,582); images are filled up with void to 500x500, so that one program serves all. Published on
the 736 images of seg11valid (VOC 2011 val less SBD train): mean IU 63.6 (released weights), 62.84
(wkentaro/pytorch-fcn); within 1.0 counts as reproduced.
"""

from configs import base

PUBLISHED = (
  base.published('seg11valid', 'released weights, fcn.berkeleyvision.org', within=1.0, mean_iu=63.6),
  base.published('seg11valid', 'wkentaro/pytorch-fcn', mean_iu=62.84),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='fcn', stride=32)
  config.task = base.section(name='semantic', preprocess='caffe', normalise='images')
  config.data.name, config.data.train_split, config.data.batch_size = 'voc', 'trainaug', 1
  config.data.crop = (500, 500)
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 1e-10, 0.99
  config.optim.weight_decay = 5e-4
  config.optim.groups = (('bias', 2.0, 0.0),)
  config.eval.split, config.eval.every = 'seg11valid', 4000
  config.train.steps, config.train.save_every = 100_000, 2000
  return base.variant(config, arg)
