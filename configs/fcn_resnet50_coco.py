"""FCN on a dilated ResNet-50 on COCO with VOC's classes, 21 of them.

  python -m jseg.main --config=configs/fcn_resnet50_coco.py --workdir=W --config.data.source=COCO

Source of the recipe: torchvision, references/segmentation (README.md, train.py, coco_utils.py): SGD at 0.02
(poly, 0.9), ten times that for the auxiliary head, momentum 0.9, weight decay 1e-4, batch 32, crops of 480,
flips, auxiliary loss 0.5, 30 epochs of the images with more than 1,000 pixels of VOC's classes; all else in
them is background. Departures: images, mostly 480 on the short side, are scaled by 0.54 to 2.17, theirs to
260 to 1,040 on the short side; they are measured at their own size, 16 at a time filled up to one size with
their mean colour, not alone and at 520 on the short side. The steps are 30 epochs of 92,500 images, an
estimate: the true number was not counted. The ResNet starts from ImageNet: name its weights in `init_from`.
Published on the 5,000 validation images: mean IU 60.5, pixel accuracy 91.4; within 1.5 counts as reproduced.
"""

from configs import base

PUBLISHED = (base.published('val', 'torchvision', within=1.5, mean_iu=60.5, pixel_accuracy=91.4),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='fcn_resnet', depth=50, remat=False)
  config.task = base.section(name='semantic', preprocess='imagenet', losses=(('logits', 1.0), ('aux', 0.5)))
  config.data.name, config.data.options = 'coco', base.section(classes=21)
  config.data.train_split, config.data.batch_size, config.data.crop = 'trainvoc', 32, (480, 480)
  config.augment.flip, config.augment.scale = True, (0.54, 2.17)
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 0.02, 0.9
  config.optim.schedule, config.optim.power, config.optim.weight_decay = 'poly', 0.9, 1e-4
  config.optim.groups = (('^aux/', 10.0, 1.0),)
  config.eval.split, config.eval.every, config.eval.batch_size = 'val', 10_000, 16
  config.train.steps, config.train.save_every = 86_700, 2000
  return base.variant(config, arg)
