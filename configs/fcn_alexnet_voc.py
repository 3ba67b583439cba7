"""FCN-AlexNet (CaffeNet), stride 32, on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/fcn_alexnet_voc.py --workdir=W --config.data.source=VOCdevkit

Source of the recipe: fcn.berkeleyvision.org, voc-fcn-alexnet: the loss averaged over pixels, fixed rate
1e-4, momentum 0.9, weight decay 5e-4, 20 images a step one after the other, 100,000 iterations, biases at
twice the rate without decay. The encoder comes from ImageNet: name its weights in `init_from`. Departure:
trainaug instead of SBD's train split, as fcn32s_voc.py. Published on the 736 images of seg11valid: mean IU
48.0 (released weights), 39.8 in the CVPR paper's table 1; within 1.0 of the first counts as reproduced.
"""

from configs import base, fcn32s_voc

PUBLISHED = (
  base.published('seg11valid', 'released weights, fcn.berkeleyvision.org', within=1.0, mean_iu=48.0),
  base.published('seg11valid', 'FCN (CVPR 2015), table 1', unlike='trained on VOC alone', mean_iu=39.8),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn32s_voc.get_config()
  with config.unlocked():
    config.model = base.section(name='fcn_alexnet')
    config.task.normalise = 'pixels'
    config.data.batch_size, config.optim.accumulate = 20, 20
    config.optim.lr, config.optim.momentum = 1e-4, 0.9
  return base.variant(config, arg)
