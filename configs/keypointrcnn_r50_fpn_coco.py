"""Mask R-CNN that finds the 17 keypoints of persons, with a ResNet-50 feature pyramid, on COCO.

  python -m jseg.main --config=configs/keypointrcnn_r50_fpn_coco.py --workdir=W --config.data.source=COCO
    --config.init_from=ResNet-50-model.caffemodel

Recipe and departures: as maskrcnn_r50_fpn_coco.py but for Detectron's e2e_keypoint_rcnn_R-50-FPN_1x.yaml:
short sides of 640 to 800 (theirs in steps of 32), images with annotated keypoints, which are learned and
measured in place of masks; persons are the only class. Published on the 5,000 validation images: box AP 53.6,
keypoint AP 64.2 (Detectron; the paper's 64.2 is of the same schedule). Within 0.5 counts as reproduced.
"""

from configs import base, maskrcnn_r50_fpn_coco

PUBLISHED = (base.published('val', 'Detectron', within=0.5, box_ap=53.6, keypoint_ap=64.2),)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = maskrcnn_r50_fpn_coco.get_config()
  with config.unlocked():
    config.model.update(masks=False, keypoints=17)
  config.data.options = base.section(classes=2, instances=True)
  config.instances.short = (640, 800)
  return base.variant(config, arg)
