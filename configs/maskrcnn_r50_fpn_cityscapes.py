"""Mask R-CNN with a ResNet-50 feature pyramid on the 8 kinds of things of Cityscapes.

  python -m jseg.main --config=configs/maskrcnn_r50_fpn_cityscapes.py --workdir=W
    --config.data.source=CITYSCAPES --config.init_from=ResNet-50-model.caffemodel

Source of the recipe: He et al. 2017 (arXiv:1703.06870), appendix A: 24,000 steps of 8 images, SGD at 0.01, a
tenth after 18,000; short sides of 800 to 1024, measured at 1024; the rest as maskrcnn_r50_fpn_coco.py, but
without its warm-up. From COCO: --config.init_from=W_OF_COCO --config.train.steps=4000.
Departures: as there; average precision is COCO's, Cityscapes' own is of regions without boxes; groups that
are not told apart are crowds. Published on the 500 validation images: mask AP 31.5, from COCO 36.4 (test:
26.2 and 32.0); within 1.0 counts as reproduced.
"""

from configs import base, maskrcnn_r50_fpn_coco

PUBLISHED = (
  base.published('val', 'Mask R-CNN (arXiv:1703.06870)', within=1.0, mask_ap=31.5),
  base.published('val', 'Mask R-CNN (arXiv:1703.06870)', unlike='from COCO', mask_ap=36.4),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = maskrcnn_r50_fpn_coco.get_config()
  config.data.name, config.data.options = 'cityscapes', base.section(instances=True)
  config.data.batch_size = 8
  config.instances.short, config.instances.test_short, config.instances.longest = (800, 1024), 1024, 2048
  config.instances.buckets, config.instances.most = ((1024, 2048),), 200
  config.optim.lr, config.optim.milestones, config.optim.warmup = 0.01, (18_000,), 0
  config.train.steps, config.eval.every, config.train.save_every = 24_000, 4000, 1000
  return base.variant(config, arg)
