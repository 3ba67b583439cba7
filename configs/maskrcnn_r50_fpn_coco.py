"""Mask R-CNN with a ResNet-50 feature pyramid on COCO: boxes and masks of 80 kinds of things.

  python -m jseg.main --config=configs/maskrcnn_r50_fpn_coco.py --workdir=W --config.data.source=COCO
    --config.init_from=ResNet-50-model.caffemodel

Source of the recipe: He et al. 2017 (arXiv:1703.06870) in the form of the authors' code,
facebookresearch/Detectron, 12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml: 90,000 steps of 16 images, short
side 800, flips, SGD at 0.02 (from a third in 500 steps; a tenth after 60,000 and again after 80,000),
momentum 0.9, weight decay 1e-4, biases at twice the rate without decay; the ResNet as He released it, its
normalisation fixed, stem and first stage too. The paper: 160,000 steps, no warm-up:
  --config.train.steps=160000 --config.optim.milestones='(120000,)' --config.optim.warmup=0
torchvision's weights: --config.init_from=resnet50.pth --config.model.strided=3x3
  --config.task.preprocess=imagenet
Its whole detector, maskrcnn_resnet50_fpn: these and --config.model.anchor_rule=torchvision
  --config.model.bn_eps=0.0
Departures: the best 2,000 proposals are of each image, theirs of the two on each GPU; masks are the owners'
outlines drawn in the image and then cut out, theirs are drawn in each region.
Published on the 5,000 validation images: box AP 37.7, mask AP 33.9 (Detectron); mask AP 33.6 (paper, its
schedule); 37.9 and 34.6 (torchvision, 26 epochs). Within 0.4 counts as reproduced.
"""

from configs import base

PUBLISHED = (
  base.published('val', 'Detectron', within=0.4, box_ap=37.7, mask_ap=33.9),
  base.published('val', 'Mask R-CNN (arXiv:1703.06870)', unlike='its schedule', mask_ap=33.6),
  base.published('val', 'torchvision', unlike='26 epochs', box_ap=37.9, mask_ap=34.6),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(
    name='mask_rcnn', depth=50, strided='1x1', norm='fixed', bn_eps=1e-5, anchor_rule='detectron', remat=False
  )
  config.task = base.section(
    name='instance',
    preprocess='detectron',
    box_count=512,
    proposals=(2000, 2000),
    test_proposals=(1000, 1000),
  )
  config.data.name, config.data.options = 'coco', base.section(instances=True)
  config.data.batch_size, config.data.threads = 16, 8
  config.augment.flip = True
  config.optim.name, config.optim.lr, config.optim.momentum, config.optim.weight_decay = (
    'sgd',
    0.02,
    0.9,
    1e-4,
  )
  config.optim.schedule, config.optim.milestones, config.optim.gamma = 'step', (60_000, 80_000), 0.1
  config.optim.warmup, config.optim.warmup_from = 500, 1 / 3
  # What does not learn must not decay either.
  config.optim.groups = ((r'^encoder/(conv1|stage1_|.*bn/)', 0.0, 0.0), (r'bias$', 2.0, 0.0))
  config.eval.split, config.eval.every, config.eval.batch_size = 'val', 10_000, 8
  config.train.steps, config.train.save_every = 90_000, 2000
  return base.variant(config, arg)
