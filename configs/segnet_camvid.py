"""SegNet (VGG16 encoder) on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/segnet_camvid.py --workdir=W --config.data.source=CAMVID

Source: SegNet-Tutorial, segnet_{train,solver}.prototxt: raw BGR, batch 4, SGD at 1e-3 fixed, momentum 0.9,
weight decay 5e-4, 40,000 iterations, no augmentation, the class weights printed in the prototxt (they do
not follow from the public labels: `--config.task.class_weights=median_frequency` takes those that do).
Published on the 233 test images from the 367 training images: 50.2 mean IU, 88.6 global, 65.9 class, from
an ImageNet encoder. Training from scratch, as this config does until encoder weights are named in
`init_from`, is a departure.
"""

from configs import base

PUBLISHED = (
  base.published(
    'test',
    'GitLanx/Semantic-Segmentation-PyTorch, its "original" row',
    mean_iu=50.2,
    pixel_accuracy=88.6,
    mean_accuracy=65.9,
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='segnet')
  config.task = base.section(name='semantic', preprocess='bgr', class_weights='prototxt')
  config.data.name, config.data.batch_size = 'camvid', 4
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 1e-3, 0.9
  config.optim.weight_decay = 5e-4
  # Caffe's convolutions: biases at twice the rate, not decayed; its BN layers decay both of theirs.
  config.optim.groups = (('bn/bias', 1.0, 1.0), ('bias', 2.0, 0.0))
  config.eval.split, config.eval.every = 'val', 1000
  config.train.steps, config.train.save_every, config.train.recalibrate = 40_000, 500, 92
  return base.variant(config, arg)
