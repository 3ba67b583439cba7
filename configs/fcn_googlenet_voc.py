"""FCN-GoogLeNet, stride 32, on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/fcn_googlenet_voc.py --workdir=W --config.data.source=VOCdevkit

Source of the recipe: Long et al. (CVPR 2015), section 4.3; no code was released: batch 20, fixed rate 5e-5,
momentum 0.9, weight decay 5e-4, at least 175 epochs, no auxiliary losses, biases at twice the rate. The
encoder comes from ImageNet: name its weights in `init_from`. Departure: trainaug instead of SBD's train
split. Published on the 736 images of VOC 2011 val: mean IU 42.5 (table 1, trained on VOC alone); no figure
is known for more images.
"""

from configs import base, fcn_alexnet_voc

PUBLISHED = (
  base.published('seg11valid', 'FCN (CVPR 2015), table 1', unlike='trained on VOC alone', mean_iu=42.5),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn_alexnet_voc.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn_googlenet')
    config.optim.lr, config.train.steps = 5e-5, 92_600
  return base.variant(config, arg)
