"""Whose weights are known: for each source its converter, what it fills, and the input it was trained on.

To add one, write its converter (`rows` does the work) and a row here. A converter takes the arrays of one
source only and raises a ValueError for all others, so that a file's names tell whose it is.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jseg.convert import (
  caffe_alexnet,
  caffe_deconvnet,
  caffe_decouplednet,
  caffe_gfrnet,
  caffe_googlenet,
  caffe_resnet,
  caffe_segnet,
  caffe_vgg,
  torch_alexnet,
  torch_densenet,
  torch_enet,
  torch_fcn,
  torch_fcn_resnet,
  torch_googlenet,
  torch_linknet,
  torch_mask_rcnn,
  torch_pspnet,
  torch_refinenet,
  torch_resnet,
  torch_ssgan,
  torch_tiramisu,
  torch_unet,
  torch_unet3d,
  torch_vgg,
)

Arrays = Mapping[str, np.ndarray]
Variables = dict[str, Any]  # {'params': ..., 'batch_stats': ...}


class Source(NamedTuple):
  """Weights that others trained, recognised by their names."""

  names: tuple[str, ...]  # what --source calls it: whose, then what; several where all is the same
  fills: str  # model.name and options of the network, or the encoder
  preprocess: str  # task.preprocess that they expect; '' where it is none of ours or was not stated
  convert: Callable[[Arrays], Variables]


Convert = Callable[[Arrays], Variables]


def _resnet(arrays: Arrays, *, depth: int, convert: Convert, of: Callable[[Arrays], int]) -> Variables:
  """What `convert` makes of a ResNet of that depth; of(arrays): the depth that the names say."""
  if of(arrays) != depth:
    raise ValueError(f'these are the names of ResNet-{of(arrays)}')
  return convert(arrays)


def _vgg(arrays: Arrays, *, layout: tuple[int, bool], convert: Convert) -> Variables:
  found = torch_vgg.layout(arrays)
  if found != layout:
    raise ValueError(
      f'these are the names of VGG{found[0]} {"with" if found[1] else "without"} normalisation'
    )
  return convert(arrays)


def _caffe_vgg(arrays: Arrays, *, depth: int) -> Variables:
  found = caffe_vgg.depth(arrays)
  if found != depth:
    raise ValueError(f'these are the names of VGG{found}')
  return caffe_vgg.classifier(arrays)


def _fcn(arrays: Arrays, *, stride: int) -> Variables:
  found = torch_fcn.stride(arrays)
  if found != stride:
    raise ValueError(f'these are the names of FCN-{found}s')
  return torch_fcn.fcn(arrays)


def _resnets() -> tuple[Source, ...]:
  """ResNets, and PSPNet on them, whose names tell the depth."""
  torch = functools.partial(_resnet, of=torch_resnet.depth)
  caffe = functools.partial(_resnet, of=caffe_resnet.depth, convert=caffe_resnet.classifier)
  found = []
  for depth in (18, 34, 50, 101, 152):
    names = (f'torchvision/resnet{depth}', f'timm/resnet{depth}')
    convert = functools.partial(torch, depth=depth, convert=torch_resnet.classifier)
    found.append(Source(names, f'the encoder ResNet-{depth}', 'imagenet', convert))
  for depth in (50, 101, 152):
    fills = f"the encoder ResNet-{depth}, stem='deep'"
    convert = functools.partial(torch, depth=depth, convert=torch_pspnet.classifier)
    found.append(Source((f'hszhao/resnet{depth}_v2',), f"{fills}, strided='3x3'", 'imagenet', convert))
    fills = f"the encoder ResNet-{depth}, stem='caffe', strided='1x1'"
    found.append(Source((f'caffe/resnet{depth}',), fills, 'caffe', functools.partial(caffe, depth=depth)))
  for depth in (50, 101, 152, 269):
    fills = f"pspnet, depth={depth}, strided='3x3', dropout_maps=True"
    convert = functools.partial(torch, depth=depth, convert=torch_pspnet.pspnet)
    found.append(Source((f'hszhao/pspnet{depth}',), fills, 'imagenet', convert))
  return tuple(found)


def _refinenets() -> tuple[Source, ...]:
  return tuple(
    Source(
      (f'drsleep/refinenet{depth}',),
      f'refinenet, depth={depth}',
      'imagenet',
      functools.partial(_resnet, of=torch_resnet.depth, depth=depth, convert=torch_refinenet.refinenet),
    )
    for depth in (50, 101, 152)
  )


def _without(arrays: Arrays, *, prefixes: tuple[str, ...], convert: Convert) -> Variables:
  """What `convert` makes of the arrays but those of training heads, which we do not have."""
  return convert({name: array for name, array in arrays.items() if not name.startswith(prefixes)})


def _vggs() -> tuple[Source, ...]:
  return tuple(
    Source(
      (f'{whose}/vgg{depth}{"_bn" if norm else ""}',),
      f'the encoder VGG{depth}{", norm=bn" if norm else ""}; fc6, fc7 of fcn',
      'imagenet',
      functools.partial(_vgg, layout=(depth, norm), convert=convert),
    )
    for whose, convert in (('torchvision', torch_vgg.classifier), ('timm', torch_vgg.timm))
    for depth in (16, 19)
    for norm in (False, True)
  )


def _caffe_vggs() -> tuple[Source, ...]:
  return tuple(
    Source(
      (f'caffe/vgg{depth}',),
      f'the encoder VGG{depth}; fc6, fc7 of fcn',
      'caffe',
      functools.partial(_caffe_vgg, depth=depth),
    )
    for depth in (16, 19)
  )


def _fcns() -> tuple[Source, ...]:
  """At once (voc-fcn8s-atonce) or in stages, the names of FCN-8s are the same; at_once=True says which."""
  return tuple(
    Source(
      (f'caffe/fcn{stride}s', f'wkentaro/fcn{stride}s'),
      f"fcn, stride={stride}, deconv='learned'",
      'caffe',
      functools.partial(_fcn, stride=stride),
    )
    for stride in (32, 16, 8)
  )


_NETWORKS = (
  Source(
    ('torchvision/alexnet',), "the encoder AlexNet, form='torchvision'", 'imagenet', torch_alexnet.classifier
  ),
  Source(
    ('caffe/caffenet', 'caffe/alexnet'),
    "the encoder AlexNet, form='caffenet' or 'alexnet'; fc6, fc7 of fcn_alexnet",
    'caffe',
    caffe_alexnet.classifier,
  ),
  Source(('caffe/fcn_alexnet',), "fcn_alexnet, deconv='learned'", 'caffe', caffe_alexnet.fcn),
  Source(
    ('torchvision/googlenet',),
    "the encoder GoogLeNet, form='torchvision', without its training heads",
    'unit',
    functools.partial(_without, prefixes=('aux1.', 'aux2.'), convert=torch_googlenet.classifier),
  ),
  Source(
    ('caffe/googlenet',),
    'the encoder GoogLeNet, without its training heads',
    'caffe',
    functools.partial(_without, prefixes=('loss1/', 'loss2/'), convert=caffe_googlenet.classifier),
  ),
  Source(
    ('torchvision/densenet',),
    'the encoder DenseNet, depth as the names say',
    'imagenet',
    torch_densenet.classifier,
  ),
  Source(
    ('torchvision/fcn_resnet',),
    'fcn_resnet, depth as the names say',
    'imagenet',
    torch_fcn_resnet.fcn_resnet,
  ),
  Source(
    ('torchvision/maskrcnn_resnet50_fpn', 'torchvision/keypointrcnn_resnet50_fpn'),
    "mask_rcnn, strided='3x3', anchor_rule='torchvision', bn_eps=0.0, heads as the names say",
    'imagenet',
    torch_mask_rcnn.mask_rcnn,
  ),
  Source(('caffe/deconvnet',), 'deconvnet', 'caffe', caffe_deconvnet.deconvnet),
  Source(('caffe/decouplednet',), "decouplednet, bridge='layers'", 'caffe', caffe_decouplednet.decouplednet),
  Source(('gengyanlei/generator',), 'the generator dcgan', '', torch_ssgan.generator),
  Source(('caffe/gfrnet',), 'gfrnet', 'bgr', caffe_gfrnet.gfrnet),
  Source(
    ('meetshah1995/segnet',), 'segnet, score_norm=True, ceil_mode=False', '', caffe_segnet.segnet_ptsemseg
  ),
  Source(('paper/unet3d',), "unet3d, norm='bn'", '', torch_unet3d.paper),
  Source(
    ('wolny/unet3d',),
    "unet3d, padding='same', upsample='nearest', conv_bias=False, norm as the names say",
    '',
    torch_unet3d.wolny,
  ),
  Source(('caffe/pspnet',), 'pspnet, aux=False', 'caffe', caffe_resnet.pspnet),
  Source(('caffe/segnet',), 'segnet', 'bgr', caffe_segnet.segnet),
  Source(('caffe/segnet_basic',), 'segnet_basic', 'bgr', caffe_segnet.segnet_basic),
  Source(('delta-onera/segnet',), 'segnet', '', caffe_segnet.segnet_onera),
  Source(('e-lab/enet',), 'enet', 'share', torch_enet.lua),
  Source(('e-lab/linknet',), 'linknet', '', torch_linknet.lua),
  Source(
    ('e-lab/pytorch-linknet',),
    'linknet, sum_relu=False, decoder_bias=False, decoder_eps=1e-5',
    '',
    torch_linknet.port,
  ),
  Source(('bfortuner/fcdensenet',), "fc_densenet, norm='bn', bn_eps=1e-5", '', torch_tiramisu.fc_densenet),
  Source(('jvanvugt/unet',), 'unet', '', torch_unet.jvanvugt),
  Source(
    ('milesial/unet',),
    "unet, padding='same', norm='bn', upsample as the names say",
    'share',
    torch_unet.milesial,
  ),
)


def table() -> tuple[Source, ...]:
  """All sources."""
  return (*_resnets(), *_refinenets(), *_vggs(), *_caffe_vggs(), *_fcns(), *_NETWORKS)


def listing() -> str:
  """The table as text: what --source calls each, what it fills, the input it expects."""
  lines = [('source', 'fills', 'task.preprocess')]
  for source in table():
    lines.append((', '.join(source.names), source.fills, source.preprocess or 'not known'))
  widths = [max(len(line[i]) for line in lines) for i in range(3)]
  return '\n'.join('  '.join(map(str.ljust, line, widths)).rstrip() for line in lines)


def convert(arrays: Arrays, name: str = '') -> tuple[Source, Variables]:
  """The source of these arrays and our variables; without a name, the one source whose names these are.

  Raises:
    ValueError: an unknown source, arrays that are not its own, or names of no source or of several.
  """
  known = ', '.join(name for source in table() for name in source.names)
  if name:
    for source in table():
      if name in source.names:
        return source, source.convert(arrays)
    raise ValueError(f"source '{name}' is unknown; there are: {known}")
  fitting = []
  for source in table():
    try:
      fitting.append((source, source.convert(arrays)))
    except ValueError:  # of another source
      continue
  if len(fitting) == 1:
    return fitting[0]
  if fitting:
    several = ', '.join(source.names[0] for source, _ in fitting)
    raise ValueError(f'the names fit several sources ({several}): choose by python -m jseg.convert --source=')
  raise ValueError(
    f'the {len(arrays)} names ({", ".join(list(arrays)[:3])} ...) are those of no source; '
    f'python -m jseg.convert --source= says what a source lacks; there are: {known}'
  )
