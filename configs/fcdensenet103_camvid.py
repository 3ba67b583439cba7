"""FC-DenseNet103 on CamVid, 11 classes, 480x360: the first stage, on crops.

  python -m jseg.main --config=configs/fcdensenet103_camvid.py --workdir=W --config.data.source=CAMVID

Source: SimJeg/FC-DenseNet, config/FC-DenseNet103.py: crops of 224x224, batch 3, flips, RMSprop at 1e-3 times
0.995 an epoch, 1e-4 times the squared weights of the convolutions (a decay of 2e-4), up to 750 epochs, no
class weights. The second stage trains on whole images from there: --config.init_from=W
--config.data.crop='()' --config.optim.lr=1e-4, and with --config.model.remat=True in 6.0 GiB by XLA's plan
for a CPU. Departures: Lasagne's RMSprop has its epsilon inside the root; their test batches are ten
frames, ours one image. Published on the 233 test images: 66.9 mean IU, 91.5 global (arXiv:1611.09326, table
3). Nobody is known to have found that again.
"""

from configs import base

PUBLISHED = (
  base.published('test', 'FC-DenseNet (arXiv:1611.09326), table 3', mean_iu=66.9, pixel_accuracy=91.5),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='fc_densenet', growth=16, down=(4, 5, 7, 10, 12), bottom=15, remat=False)
  config.task = base.section(name='semantic', preprocess='share')
  config.data.name, config.data.batch_size, config.data.crop = 'camvid', 3, (224, 224)
  config.eval.batch_size = 1
  config.augment.flip = True
  config.optim.name, config.optim.lr = 'rmsprop', 1e-3
  config.optim.momentum, config.optim.rho, config.optim.eps = 0.0, 0.9, 1e-6
  config.optim.schedule, config.optim.gamma, config.optim.period = 'exponential', 0.995, 122
  config.optim.weight_decay = 2e-4
  config.optim.groups = (('bias|scale', 1.0, 0.0),)
  config.eval.split, config.eval.every = 'val', 1220
  config.train.steps, config.train.save_every = 91_500, 610
  return base.variant(config, arg)
