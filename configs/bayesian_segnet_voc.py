"""Bayesian SegNet (VGG16 encoder) on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/bayesian_segnet_voc.py --workdir=W --config.data.source=VOCdevkit

Source: Kendall et al. (arXiv:1511.02680); recipe as bayesian_segnet_camvid.py without class balancing, on
crops of 360x480 since sizes differ from image to image. The paper takes 50 samples, here 6, after which
little is said to be gained. The encoder starts from ImageNet: name its weights in `init_from`. Published:
60.5 mean IU on the test server, against 59.1 without samples.
"""

from configs import base, bayesian_segnet_camvid

PUBLISHED = (base.published('server', 'Kendall et al. (arXiv:1511.02680)', mean_iu=60.5),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = bayesian_segnet_camvid.get_config()
  with config.unlocked():
    config.task.class_weights = 'none'
    config.data.name, config.data.crop = 'voc', (360, 480)
    config.eval.split, config.eval.batch_size, config.eval.samples = 'val', 1, 6
    config.data.train_split = 'trainaug'
  return base.variant(config, arg)
