"""Bayesian SegNet (VGG16 encoder) on SUN RGB-D, 37 classes.

  python -m jseg.main --config=configs/bayesian_segnet_sunrgbd.py --workdir=W --config.data.source=SUNRGBD

Source: Kendall et al. (arXiv:1511.02680); recipe as bayesian_segnet_camvid.py without class balancing, on
crops of 360x480 since sizes differ from image to image. The paper takes 50 samples, here 6, after which
little is said to be gained. The encoder starts from ImageNet: name its weights in `init_from`. Published:
30.7 mean IU on the 5,050 test images.
"""

from configs import base, bayesian_segnet_camvid

PUBLISHED = (base.published('test', 'Kendall et al. (arXiv:1511.02680)', mean_iu=30.7),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = bayesian_segnet_camvid.get_config()
  with config.unlocked():
    config.task.class_weights = 'none'
    config.data.name, config.data.crop = 'sunrgbd', (360, 480)
    config.eval.split, config.eval.batch_size, config.eval.samples = 'test', 1, 6
  return base.variant(config, arg)
