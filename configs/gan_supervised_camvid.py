"""SegNet on an eighth of the masks of CamVid: the baseline of gan_semi_camvid.

  python -m jseg.main --config=configs/gan_supervised_camvid.py --workdir=W --config.data.source=CamVid

The network, images, rate and steps of gan_semi_camvid without its unlabelled and generated images. No figure
of the paper belongs to this run: its widths, weights and rates could not be verified. Those here are of
gengyanlei/ssgan, an unofficial port (Adam 1e-4, twice that for the generator, poly to 0 over 20,000 steps,
batch 16).
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='segnet')
  config.task = base.section(name='semantic', preprocess='caffe', class_weights='none')
  config.data.name, config.data.train_split, config.data.subset = 'camvid', 'train', 'labelled:1/8'
  config.data.batch_size, config.data.crop = 8, (352, 480)
  config.augment.flip, config.augment.scale = True, (0.5, 1.5)
  config.eval.every, config.eval.batch_size = 2000, 1
  config.optim.name, config.optim.lr, config.optim.beta2 = 'adam', 1e-4, 0.99
  config.optim.schedule, config.optim.power, config.optim.weight_decay = 'poly', 0.9, 5e-4
  config.train.steps, config.train.save_every = 20_000, 1000
  return base.variant(config, arg)
