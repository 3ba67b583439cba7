"""FCN-8s on an eighth of the masks of PASCAL VOC 2012: the baseline of gan_semi_voc.

  python -m jseg.main --config=configs/gan_supervised_voc.py --workdir=W --config.data.source=VOCdevkit

The network, images, rate and steps of gan_semi_voc without its unlabelled and generated images; name VGG16's
weights in `init_from` for both. No figure of the paper belongs to this run: its widths, weights and rates
could not be verified. Those here are of gengyanlei/ssgan, an unofficial port (Adam 1e-4, twice that for the
generator, poly to 0 over 20,000 steps, batch 16).
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='fcn', at_once=True, deconv='learned')
  config.task = base.section(name='semantic', preprocess='caffe', class_weights='none')
  config.data.name, config.data.train_split, config.data.subset = 'voc', 'trainaug', 'labelled:1/8'
  config.data.batch_size, config.data.crop = 16, (320, 320)
  config.augment.flip, config.augment.scale = True, (0.5, 1.5)
  config.eval.every, config.eval.batch_size = 2000, 1
  config.optim.name, config.optim.lr, config.optim.beta2 = 'adam', 1e-4, 0.99
  config.optim.schedule, config.optim.power, config.optim.weight_decay = 'poly', 0.9, 5e-4
  config.train.steps, config.train.save_every = 20_000, 1000
  return base.variant(config, arg)
