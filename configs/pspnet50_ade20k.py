"""PSPNet50 on ADE20K, 150 classes.

  python -m jseg.main --config=configs/pspnet50_ade20k.py --workdir=W --config.data.source=ADE20K

Source of the recipe: hszhao/semseg, config/ade20k/ade20k_pspnet50.yaml and tool/train.py, the authors' code
with training: SGD at 0.01 (poly, 0.9), ten times that outside the ResNet, momentum 0.9, weight decay 1e-4,
batch 16, crops of 473, scales 0.5 to 2, rotation by 10 degrees, flips, auxiliary loss 0.4, dropout of whole
maps; the steps are the paper's 150,000 (arXiv:1612.01105, section 5.1). Departures: images are not first
resized to a long side of 512; windows overlap by half, not a third; blur by a Gaussian of up to 1.1 pixels
in every image. The ResNet starts from ImageNet: name its weights in `init_from`. Published on the 2,000
validation images, windows and flip: mean IU 41.68, pixel accuracy 80.04 (paper), 41.89 / 80.39 (semseg);
within 1.0 counts as reproduced.
"""

from configs import base

PUBLISHED = (
  base.published(
    'val', 'PSPNet (arXiv:1612.01105), tables 3 and 5', within=1.0, mean_iu=41.68, pixel_accuracy=80.04
  ),
  base.published('val', 'semseg', mean_iu=41.89, pixel_accuracy=80.39),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(
    name='pspnet', depth=50, strided='3x3', dropout_maps=True, bn_momentum=0.9, remat=False
  )
  config.task = base.section(name='semantic', preprocess='imagenet', losses=(('logits', 1.0), ('aux', 0.4)))
  config.data.name, config.data.batch_size, config.data.crop = 'ade20k', 16, (473, 473)
  config.augment.flip, config.augment.scale = True, (0.5, 2.0)
  config.augment.rotate, config.augment.blur = 10.0, 1.1
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 0.01, 0.9
  config.optim.schedule, config.optim.power, config.optim.weight_decay = 'poly', 0.9, 1e-4
  config.optim.groups = (('^encoder', 1.0, 1.0), ('', 10.0, 1.0))
  config.eval.split, config.eval.every, config.eval.batch_size = 'val', 10_000, 1
  config.eval.window, config.eval.flip = (473, 473), True
  config.train.steps, config.train.save_every = 150_000, 2000
  return base.variant(config, arg)
