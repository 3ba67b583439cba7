"""U-Net on the ISBI 2012 challenge of electron microscopy, 2 classes.

  python -m jseg.main --config=configs/unet_isbi.py --workdir=W --config.data.source=ISBI

Source: Ronneberger et al. (arXiv:1505.04597): valid convolutions, one large tile a step, SGD with momentum
0.99, shifts, rotations, elastic deformation, grey values changed, each pixel's loss weighted by the paper's
map, which favours what lies between two cells; slices are mirrored beyond their borders, where no loss is
taken. The paper gives no range of the shifts and grey values and not how the classes are balanced: those are
ours. Departure: mirror images too. The figures of its table 1 (warping error 0.000353, Rand error 0.0382) are
the challenge server's, mean IU is none of them.
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='unet')
  config.data.name, config.data.batch_size = 'isbi', 1
  config.data.options = base.section(border_weights=True)
  config.augment.flip, config.augment.vflip, config.augment.rotate = True, True, 180.0
  config.augment.translate, config.augment.elastic, config.augment.padding = 32, 10.0, 'mirror'
  config.augment.brightness, config.augment.contrast = 0.1, 0.1
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 1e-3, 0.99
  config.eval.split, config.eval.every = 'val', 500
  config.train.steps, config.train.save_every = 10_000, 500
  return base.variant(config, arg)
