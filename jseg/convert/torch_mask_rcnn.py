"""Mask R-CNN and Keypoint R-CNN: torchvision's names, those of its stored weights and those of today.

The weights on offer have names of before layers were wrapped (rpn.head.conv, fpn.inner_blocks.0); a network
built today calls these rpn.head.conv.0.0 and fpn.inner_blocks.0.0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows, torch_resnet

Arrays = Mapping[str, np.ndarray]

_MASK_CONVS, _KEYPOINT_CONVS, _LEVELS = 4, 8, 4
_BOX_SIDE = 7  # of the regions that the first fully connected layer sees


def _either(arrays: Arrays, today: str, before: str) -> str:
  """The name of a layer, whichever of two the arrays have; today's where they have neither."""
  return before if f'{before}.weight' in arrays else today


def backbone(arrays: Arrays) -> list[rows.Row]:
  """The rows of encoder and pyramid."""
  table = torch_resnet.encoder(arrays, ('encoder',), prefix='backbone.body.')
  for theirs, ours in (('inner_blocks', 'lateral'), ('layer_blocks', 'output')):
    for i in range(_LEVELS):
      layer = f'backbone.fpn.{theirs}.{i}'
      table += rows.conv(_either(arrays, f'{layer}.0', layer), ('pyramid', f'{ours}{i + 2}'))
  return table


def proposals(arrays: Arrays) -> list[rows.Row]:
  """The rows of the region proposals."""
  conv = _either(arrays, 'rpn.head.conv.0.0', 'rpn.head.conv')
  layers = ((conv, 'conv'), ('rpn.head.cls_logits', 'objectness'), ('rpn.head.bbox_pred', 'deltas'))
  return [row for theirs, ours in layers for row in rows.conv(theirs, ('rpn_head', ours))]


def box() -> list[rows.Row]:
  """The rows of the box head."""
  table = rows.conv('roi_heads.box_head.fc6', ('box_head', 'fc6'), change=_regions)
  for theirs, ours in (
    ('box_head.fc7', ('box_head', 'fc7')),
    ('box_predictor.cls_score', ('box_scores', 'score')),
    ('box_predictor.bbox_pred', ('box_scores', 'deltas')),
  ):
    table += rows.conv(f'roi_heads.{theirs}', ours, change=lambda array: array[:, :, None, None])
  return table


def _regions(weight: np.ndarray) -> np.ndarray:
  """(out, channel by row by column) -> (out, row by column by channel, 1, 1)."""
  weight = weight.reshape(len(weight), -1, _BOX_SIDE, _BOX_SIDE)
  return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1, 1, 1)


def mask(arrays: Arrays) -> list[rows.Row]:
  """The rows of the mask head."""
  table = []
  for i in range(_MASK_CONVS):
    theirs = _either(arrays, f'roi_heads.mask_head.{i}.0', f'roi_heads.mask_head.mask_fcn{i + 1}')
    table += rows.conv(theirs, ('mask_head', f'conv{i + 1}'))
  table += rows.deconv('roi_heads.mask_predictor.conv5_mask', ('mask_head', 'up'))
  return table + rows.conv('roi_heads.mask_predictor.mask_fcn_logits', ('mask_head', 'score'))


def keypoint() -> list[rows.Row]:
  """The rows of the keypoint head."""
  table = []
  for i in range(_KEYPOINT_CONVS):
    table += rows.conv(f'roi_heads.keypoint_head.{2 * i}', ('keypoint_head', f'conv{i + 1}'))
  return table + rows.deconv('roi_heads.keypoint_predictor.kps_score_lowres', ('keypoint_head', 'score'))


def mask_rcnn(arrays: Arrays) -> dict[str, Any]:
  """Variables of models.mask_rcnn with strided='3x3'; which heads there are follows from the names.

  torchvision's stored weights were trained with an epsilon of zero in the frozen normalisation: bn_eps=0.0.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = backbone(arrays) + proposals(arrays) + box()
  if any(name.startswith('roi_heads.keypoint_') for name in arrays):
    table += keypoint()
  if any(name.startswith('roi_heads.mask_') for name in arrays):
    table += mask(arrays)
  return rows.apply(arrays, table)
