"""Mask R-CNN with a ResNet-101 feature pyramid on COCO.

  python -m jseg.main --config=configs/maskrcnn_r101_fpn_coco.py --workdir=W --config.data.source=COCO
    --config.init_from=ResNet-101-model.caffemodel

Recipe, departures and the paper's schedule: as maskrcnn_r50_fpn_coco.py, with ResNet-101 (Detectron's
e2e_mask_rcnn_R-101-FPN_1x.yaml). Published on the 5,000 validation images: box AP 40.0, mask AP 35.9
(Detectron); mask AP 35.4 (paper, its schedule; on test-dev 35.7 and box AP 38.2). Within 0.4 counts as
reproduced.
"""

from configs import base, maskrcnn_r50_fpn_coco

PUBLISHED = (
  base.published('val', 'Detectron', within=0.4, box_ap=40.0, mask_ap=35.9),
  base.published('val', 'Mask R-CNN (arXiv:1703.06870)', unlike='its schedule', mask_ap=35.4),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = maskrcnn_r50_fpn_coco.get_config()
  with config.unlocked():
    config.model.depth = 101
  return base.variant(config, arg)
