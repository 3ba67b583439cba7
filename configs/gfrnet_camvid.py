"""G-FRNet (VGG16 encoder) on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/gfrnet_camvid.py --workdir=W --config.data.source=CAMVID

Source: mrochan/gfrnet, {train,solver}_camvid_gate.prototxt: raw BGR, batch 6, SGD at 1e-3, a tenth of it
after every 50,000 of 150,000 iterations, momentum 0.9, weight decay 5e-4, no augmentation, SegNet's class
weights, statistics of BatchNorm from one pass over the training set (here 61 batches of 6), the same loss on
each of the six predictions. Published on the 233 test images from the 367 training images: 68.0 mean IU,
from an ImageNet encoder: name its converted weights in `init_from`. Departure: from scratch until then.
"""

from configs import base

LOSSES = tuple((f'pred_{i}', 1.0) for i in range(1, 6)) + (('logits', 1.0),)

PUBLISHED = (base.published('test', 'G-FRNet (CVPR 2017)', mean_iu=68.0),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='gfrnet')
  config.task = base.section(name='semantic', preprocess='bgr', class_weights='prototxt', losses=LOSSES)
  config.data.name, config.data.batch_size = 'camvid', 6
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 1e-3, 0.9
  config.optim.schedule, config.optim.gamma, config.optim.milestones = 'step', 0.1, (50_000, 100_000)
  config.optim.weight_decay = 5e-4
  # Caffe's convolutions: biases at twice the rate, not decayed; the shifts of its BN layers at the plain one.
  config.optim.groups = (('bn/bias', 1.0, 0.0), ('bias', 2.0, 0.0))
  config.eval.split, config.eval.every = 'val', 1000
  config.train.steps, config.train.save_every, config.train.recalibrate = 150_000, 500, 61
  return base.variant(config, arg)
