"""SegNet-Basic on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/segnet_basic_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet-Tutorial, segnet_basic_{train,solver}.prototxt: raw BGR, batch 4, SGD at 0.1 fixed, momentum
0.9, weight decay 5e-4, 10,000 iterations, no augmentation, the class weights printed in the prototxt (they
do not follow from the public labels: `--config.task.class_weights=median_frequency` takes those that do);
statistics of BatchNorm from one pass over training batches, as compute_bn_statistics.py does it (here 92
batches of 4: the training set once).
Published on the 233 test images: 47.7 mean IU, 82.7 global, 62.0 class (SegNet, PAMI 2017, table 1, median
frequency, checkpoint chosen by validation global accuracy); the tutorial's page says 46.3 / 82.8 / 62.3.
Reproductions by others lie between 47 and 49, so expect +-2.
"""

from configs import base

PUBLISHED = (
  base.published(
    'test', 'SegNet (PAMI 2017), table 1', within=2.0, mean_iu=47.7, pixel_accuracy=82.7, mean_accuracy=62.0
  ),
  base.published('test', "the tutorial's page", mean_iu=46.3, pixel_accuracy=82.8, mean_accuracy=62.3),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='segnet_basic')
  config.task = base.section(name='semantic', preprocess='bgr', class_weights='prototxt')
  config.data.name, config.data.batch_size = 'camvid', 4
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 0.1, 0.9
  config.optim.weight_decay = 5e-4
  # Caffe's convolutions: biases at twice the rate, not decayed; its BN layers decay both of theirs.
  config.optim.groups = (('bn/bias', 1.0, 1.0), ('bias', 2.0, 0.0))
  config.eval.split, config.eval.every = 'val', 1000
  config.train.steps, config.train.save_every, config.train.recalibrate = 10_000, 500, 92
  return base.variant(config, arg)
