"""ENet on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/enet_camvid.py --workdir=W --config.data.source=CAMVID

Source: e-lab/ENet-training, train/opts.lua: Adam at 5e-4, weight decay 2e-4, batch 10, 300 epochs, class
weights 1 / ln(1.02 + share). Theirs is the second stage, from an encoder that enet_encoder_camvid.py trains:
--config.init_from=ITS_WORKDIR. Departures: the rate falls to a tenth every 100 epochs, as meant (the code
multiplies by 1e-7); void is no class. Published on the 233 test images: 51.3 mean IU, 68.3 class;
davidtvs/PyTorch-ENet finds 52.1 to 52.9 in one stage.
"""

from configs import base

PUBLISHED = (
  base.published('test', 'ENet (arXiv:1606.02147)', mean_iu=51.3, mean_accuracy=68.3),
  base.published('test', 'davidtvs/PyTorch-ENet, the best of three', mean_iu=52.9),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='enet')
  config.task = base.section(name='semantic', preprocess='share', class_weights='enet')
  config.data.name, config.data.batch_size = 'camvid', 10
  config.optim.name, config.optim.lr, config.optim.weight_decay = 'adam', 5e-4, 2e-4
  config.optim.schedule, config.optim.gamma, config.optim.milestones = 'step', 0.1, (3700, 7400)
  config.eval.split, config.eval.every = 'val', 740
  config.train.steps, config.train.save_every = 11_100, 370
  return base.variant(config, arg)
