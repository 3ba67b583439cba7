"""U-Net with same padding and BatchNorm on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/unet_camvid.py --workdir=W --config.data.source=CAMVID

No paper has this row, and padding and BatchNorm leave the paper. A PyTorch reproduction of U-Net from
scratch reports 49.83 mean IU, 84.38 global, 62.80 class on the 233 test images
(GitLanx/Semantic-Segmentation-PyTorch).
"""

from configs import base

PUBLISHED = (
  base.published(
    'test', 'GitLanx/Semantic-Segmentation-PyTorch', mean_iu=49.83, pixel_accuracy=84.38, mean_accuracy=62.8
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='unet', padding='same', norm='bn', width=64, depth=5, dropout=0.0)
  config.task = base.section(name='semantic', preprocess='imagenet', class_weights='median_frequency')
  config.data.name, config.data.batch_size = 'camvid', 4
  config.augment.flip = True
  config.optim.name, config.optim.lr, config.optim.schedule = 'sgd', 0.01, 'poly'
  config.optim.weight_decay = 5e-4
  config.eval.split, config.eval.every = 'val', 1000
  config.train.steps, config.train.save_every = 20_000, 500
  return base.variant(config, arg)
