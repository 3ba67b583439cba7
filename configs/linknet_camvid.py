"""LinkNet on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/linknet_camvid.py --workdir=W --config.data.source=CAMVID

Source: e-lab/LinkNet, opts.lua and train.lua: RMSprop at 5e-4, a tenth of it after every 100 epochs, batch
8, 300 epochs, no weight decay, class weights 1 / ln(1.02 + pixels / pixels of the commonest class).
Departures: the authors train on frames of 768x576 cut from the videos, subtract the mean image and learn
void as a twelfth class; their encoder starts from ImageNet (name its converted weights in `init_from`).
Published at 768x576: mean IU 55.8 (the README's 69.1 is a class accuracy).
"""

from configs import base

PUBLISHED = (base.published('test', 'e-lab/LinkNet', unlike='frames of 768x576', mean_iu=55.8),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='linknet')
  config.task = base.section(name='semantic', preprocess='share', class_weights='linknet')
  config.data.name, config.data.batch_size = 'camvid', 8
  config.optim.name, config.optim.lr, config.optim.momentum = 'rmsprop', 5e-4, 0.0
  config.optim.schedule, config.optim.gamma, config.optim.milestones = 'step', 0.1, (4500, 9000)
  config.eval.split, config.eval.every = 'val', 900
  config.train.steps, config.train.save_every = 13_500, 450
  return base.variant(config, arg)
