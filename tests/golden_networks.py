"""Others' networks and how each maps to ours: build, convert, and where its recorded maps are in ours."""

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from jseg.convert import (
  caffe_alexnet,
  caffe_deconvnet,
  caffe_decouplednet,
  caffe_gfrnet,
  caffe_googlenet,
  caffe_resnet,
  caffe_segnet,
  torch_alexnet,
  torch_enet,
  torch_fcn,
  torch_googlenet,
  torch_linknet,
  torch_pspnet,
  torch_refinenet,
  torch_resnet,
  torch_ssgan,
  torch_tiramisu,
  torch_unet,
  torch_unet3d,
  torch_vgg,
)
from jseg.models import (
  deconvnet,
  decouplednet,
  enet,
  fc_densenet,
  fcn,
  fcn_alexnet,
  gfrnet,
  linknet,
  pspnet,
  refinenet,
  segnet,
  segnet_basic,
  unet,
  unet3d,
)
from jseg.models.encoders import alexnet, googlenet, resnet, vgg
from jseg.models.generators import dcgan

Arrays = Mapping[str, np.ndarray]
Place = str | tuple[str, ...] | None  # a key of `out`, the path of a module whose output it is, or neither


def _plain(name: str, logits: jax.Array) -> jax.Array:
  return nn.softmax(logits) if name == 'prob' else logits


def _log_softmax(name: str, logits: jax.Array) -> jax.Array:
  return nn.log_softmax(logits) if name == 'out' else logits


def _call(model: nn.Module, variables: Any, inputs: Arrays) -> Any:
  (image,) = inputs.values()
  return model.apply(
    variables, image, train=False, capture_intermediates=True, mutable=['intermediates']
  )  # fmt: skip


class Network(NamedTuple):
  """How a reference network maps to ours."""

  build: Callable[[Arrays], nn.Module]  # from the reference's arrays
  convert: Callable[[Arrays], dict[str, Any]]
  tap: Callable[[str], Place] = lambda name: name
  outliers: int = 0
  out: Callable[[str, jax.Array], jax.Array] = _plain  # from the name of an output and our logits
  call: Callable[[nn.Module, Any, Arrays], Any] = _call  # (logits, out) and state of inputs, channels last


def _onera_tap(name: str) -> Place:
  kind, i, j, decoder = re.fullmatch(r'(conv|bn)(\d)(\d)(d?)', name).groups()
  if decoder:
    return ({'conv': 'decode', 'bn': 'decode_norm'}[kind] + f'{i}_{j}',)
  return ('encoder', {'conv': 'conv', 'bn': 'norm'}[kind] + f'{i}_{j}')


def _caffe_segnet_tap(name: str) -> Place:
  i, j, decoder = re.fullmatch(r'conv(\d)_(\d)(_D)?', name).groups()
  return (f'decode{i}_{j}',) if decoder else ('encoder', f'conv{i}_{j}')


def _deconvnet_tap(name: str) -> Place:
  # Recorded before normalisation and ReLU.
  if name.startswith('conv'):
    return ('encoder', name)
  return ('decoder', name.replace('-', '_')) if 'deconv' in name else (name,)


def _decouplednet(arrays: Arrays) -> nn.Module:
  return decouplednet.Model(num_classes=len(arrays['cls-score-voc.bias']) + 1, bridge='layers')


def _decouplednet_call(model: nn.Module, variables: Any, inputs: Arrays) -> Any:
  """The query there is what the scores' unpooling takes: the factors have been multiplied already."""

  def segment(model, image, query):
    pooled, encoded = model._encoded(image, train=False)
    scores, back, out = model._bridging(pooled)
    logits, more = model._segmented(pooled, back(query[None, :, 0, 0]), encoded, train=False)
    found = {
      'cls-score-sigmoid': scores[:, None, None],
      'cls-score-avg-sigmoid': out['cls_score'].mean((1, 2), keepdims=True),
    }
    return logits[0], {**{name: nn.sigmoid(x) for name, x in found.items()}, 'pool5-bp': more['bridge'][0]}

  return model.apply(
    variables, inputs['data'], inputs['cls-score-masked'], method=segment, capture_intermediates=True,
    mutable=['intermediates'],
  )  # fmt: skip


def _decouplednet_tap(name: str) -> Place:
  if name in ('cls-score-sigmoid', 'cls-score-avg-sigmoid', 'pool5-bp'):
    return name
  if name in ('fc6', 'fc7', 'cls-score-voc-bp'):
    return ('score_back',) if name.endswith('bp') else (name,)
  if 'deconv' in name:
    return ('segmenter', 'decoder', name.replace('-', '_'))
  return ('segmenter', name.removesuffix('-seg'))


def _basic_tap(name: str) -> Place:
  kind, i = re.fullmatch(r'conv(_decode)?(\d)', name).groups()
  return (('decode' if kind else 'encode') + i,)


def _jvanvugt_tap(name: str) -> Place:
  kind, level, *rest = name.split('.')
  if kind == 'down_path':
    return f'down{level}'
  return f'up{3 - int(level)}' if not rest else (f'up{3 - int(level)}_conv',)


def _milesial_tap(name: str) -> Place:
  if name in ('inc', 'outc'):
    return {'inc': 'down0', 'outc': ('score',)}[name]
  return name if name.startswith('down') else f'up{4 - int(name[2:])}'


def _milesial(arrays: Arrays) -> nn.Module:
  upsample = 'deconv' if torch_unet.learns_upsampling(arrays) else 'bilinear'
  return unet.Model(num_classes=len(arrays['outc.conv.bias']), padding='same', norm='bn', upsample=upsample)


def _jvanvugt(arrays: Arrays) -> nn.Module:
  return unet.Model(
    num_classes=len(arrays['last.bias']),
    width=len(arrays['down_path.0.block.0.bias']),
    depth=sum(name.endswith('block.0.bias') and name.startswith('down_path') for name in arrays),
    border='none',
  )


def _paper3d(arrays: Arrays) -> nn.Module:
  return unet3d.Model(
    num_classes=len(arrays['head.bias']),
    width=len(arrays['down.0.0.0.bias']),
    depth=sum(name.startswith('down.') and name.endswith('.0.0.bias') for name in arrays),
    border='none',
    norm='bn',
  )


def _paper3d_tap(name: str) -> Place:
  """Theirs counts the steps of the expanding path from the bottom."""
  kind, i = name.split('.')
  return {'down': f'down{i}', 'up': (f'up{2 - int(i)}_conv',), 'dec': f'up{2 - int(i)}'}[kind]


def _wolny(arrays: Arrays) -> nn.Module:
  groups = 'encoders.0.basic_module.SingleConv1.groupnorm.weight' in arrays
  return unet3d.Model(
    num_classes=len(arrays['final_conv.bias']),
    width=len(arrays['encoders.0.basic_module.SingleConv1.conv.weight']),
    depth=sum(name.startswith('encoders') and name.endswith('SingleConv1.conv.weight') for name in arrays),
    padding='same',
    upsample='nearest',
    conv_bias=False,
    norm='gn' if groups else 'bn',
    norm_first=groups,
  )


def _wolny_tap(name: str) -> Place:
  kind, i = name.split('.')
  return {'encoders': f'down{i}', 'decoders': f'up{2 - int(i)}'}[kind]


def _fcn(arrays: Arrays, *, at_once: bool = False) -> nn.Module:
  stride = {0: 32, 1: 16, 2: 8}[sum(f'score_pool{i}.weight' in arrays for i in (3, 4))]
  classes = len(arrays['score_fr.bias'])
  return fcn.Model(num_classes=classes, stride=stride, at_once=at_once, deconv='learned')


def _fcn_tap(name: str) -> Place:
  return (name,) if name in ('fc6', 'fc7') else name  # recorded before their ReLU


def _vgg(arrays: Arrays) -> nn.Module:
  norm = 'bn' if 'features.1.running_mean' in arrays else 'none'
  return vgg.Classifier(num_classes=len(arrays['classifier.6.bias']), norm=norm)


def _vgg_tap(pools: tuple[int, ...]) -> Callable[[str], Place]:
  """torchvision numbers its layers; `pools` are the numbers of the five pools."""
  names = {f'features.{number}': f'pool{i}' for i, number in enumerate(pools, start=1)}
  return {**names, 'avgpool': 'avgpool'}.__getitem__


def _resnet(arrays: Arrays) -> nn.Module:
  return resnet.Classifier(num_classes=len(arrays['fc.bias']), depth=torch_resnet.depth(arrays))


def _resnet_tap(name: str) -> Place:
  if name in ('conv1', 'bn1'):
    return ('encoder', name.replace('bn', 'norm'))
  return {'maxpool': 'pool', 'avgpool': 'avgpool', 'fc': None}.get(name, name.replace('layer', 'stage'))


def _linknet_tap(name: str) -> Place:
  """Of either form; theirs counts decoders from 0 in Lua, and a decoder's output comes before the sum."""
  if match := re.fullmatch(r'(?:trunk\.layer|encoder)(\d)', name):
    return f'encode{match[1]}'
  if match := re.fullmatch(r'dec\.(\d)', name):
    return (f'decode{int(match[1]) + 1}',)
  if match := re.fullmatch(r'decoder(\d)', name):
    return (f'decode{match[1]}',)
  if match := re.fullmatch(r'd(\d)', name):
    return f'decode{match[1]}'
  return {
    'conv1': ('encoder', 'conv1'), 'bn1': ('encoder', 'norm1'), 'maxpool': None, 'tp_conv1': None,
    'conv2': None, 'tp_conv2': ('score',),
  }[name]  # fmt: skip


def _linknet_port(arrays: Arrays) -> nn.Module:
  classes = len(arrays['tp_conv2.bias'])
  return linknet.Model(num_classes=classes, sum_relu=False, decoder_bias=False, decoder_eps=1e-5)


def _fc_densenet(arrays: Arrays) -> nn.Module:
  down = sum(name.startswith('transDownBlocks') and name.endswith('conv.bias') for name in arrays)
  return fc_densenet.Model(
    num_classes=len(arrays['finalConv.bias']),
    growth=len(arrays['bottleneck.bottleneck.layers.0.conv.bias']),
    down=tuple(torch_tiramisu.layers(arrays, f'denseBlocksDown.{i}') for i in range(down)),
    bottom=torch_tiramisu.layers(arrays, 'bottleneck.bottleneck'),
    width=len(arrays['firstconv.bias']),
    norm='bn',
    bn_eps=1e-5,
  )


def _tiramisu_tap(name: str) -> Place:
  kind, _, i = name.partition('.')
  if kind in ('firstconv', 'finalConv', 'bottleneck'):
    return {'firstconv': ('first',), 'finalConv': ('score',), 'bottleneck': 'bottom'}[kind]
  # Theirs has five pools; transitions are recorded with what is joined to them.
  return {
    'denseBlocksDown': f'down{int(i) + 1}', 'denseBlocksUp': f'up{5 - int(i)}',
    'transDownBlocks': None, 'transUpBlocks': None,
  }[kind]  # fmt: skip


def _refinenet(arrays: Arrays) -> nn.Module:
  classes, depth = len(arrays['clf_conv.bias']), torch_resnet.depth(arrays)
  return refinenet.Model(num_classes=classes, depth=depth, norm='bn')


def _refinenet_tap(name: str) -> Place:
  if name in ('out', 'clf_conv'):
    return 'score'
  if match := re.fullmatch(r'(p_ims1d2_outl|adapt_stage|mflow_conv_g)(\d)(_.*)', name):
    before, i, after = match.groups()
    block = f'refine{5 - int(i)}'
    if after == '_b3_joint_varout_dimred':
      return (f'refine{4 - int(i)}', 'fuse_below')
    return {
      'p_ims1d2_outl_dimred': (block, 'adapt'), 'adapt_stage_b': (block, 'rcu_in2'),
      'adapt_stage_b2_joint_varout_dimred': (block, 'fuse'), 'mflow_conv_g_pool': (block, 'crp'),
      'mflow_conv_g_b': block,
    }[before + after]  # fmt: skip
  return _resnet_tap(name)


def _alexnet(form: str) -> Callable[[Arrays], nn.Module]:
  head = 'classifier.6' if form == 'torchvision' else 'fc8'
  return lambda arrays: alexnet.Classifier(num_classes=len(arrays[f'{head}.bias']), form=form)


def _alexnet_tap(name: str) -> Place:
  """Caffe's convolutions come before their ReLU, torchvision's maps are pools; the rest are vectors."""
  if name.startswith('conv'):
    return ('encoder', name)
  return {
    'features.2': 'pool1', 'features.5': 'pool2', 'features.12': 'pool5', 'avgpool': 'avgpool',
  }.get(name)  # fmt: skip


def _fcn_alexnet_tap(name: str) -> Place:
  if name.startswith('conv'):
    return ('encoder', name)
  return _fcn_tap(name)


def _googlenet_tap(name: str) -> Place:
  if name.startswith('conv'):
    return ('encoder', name)
  return None if name == 'fc' else name.removeprefix('max')


def _caffe_googlenet_tap(name: str) -> Place:
  """Before the ReLU, but whole modules."""
  if name.startswith('conv'):
    return ('encoder', {'conv1/7x7_s2': 'conv1', 'conv2/3x3': 'conv3'}[name], 'conv')
  module, layer = re.fullmatch(r'(inception_\w\w)/(.*)', name).groups()
  module = module.replace('_', '')
  if layer == 'output':
    return module
  return ('encoder', module, layer if layer == 'pool_proj' else f'conv{layer}', 'conv')


def _enet_tap(name: str) -> Place:
  if name in ('encoder_logits', 'init_act'):
    return {'encoder_logits': name, 'init_act': 'initial'}[name]
  stage, _, i = name[3:].partition('.')
  if i:
    return None  # a bottleneck's output is a pair; the stages' outputs are compared
  return f'stage{stage}'


def _pspnet(arrays: Arrays) -> nn.Module:
  """semseg's form, whose momentum is 0.1 in torch's terms."""
  return pspnet.Model(
    num_classes=len(arrays['cls.4.bias']), depth=torch_resnet.depth(arrays), strided='3x3',
    dropout_maps=True, bn_momentum=0.9,
  )  # fmt: skip


def _pspnet_tap(name: str) -> Place:
  return {'layer0': None, 'aux_logits': 'aux_score', 'aux': 'aux', 'ppm': 'pyramid', 'cls': 'score'}.get(
    name, name.replace('layer', 'stage')
  )


def _caffe_resnet_tap(name: str) -> Place:
  if name == 'conv1':
    return ('encoder', 'conv1')
  return None if name == 'fc1000' else f'stage{int(name[3]) - 1}'


def _caffe_pspnet_tap(name: str) -> Place:
  if match := re.fullmatch(r'conv5_3_pool(\d)_conv/bn', name):
    return (f'pool{match[1]}_norm',)
  if match := re.fullmatch(r'conv(\d)_(\d)_1x1_increase/bn', name):
    return ('encoder', f'stage{int(match[1]) - 1}_{match[2]}', 'norm3')
  return {
    'conv1_3_3x3/bn': ('encoder', 'norm3'), 'conv4_1_3x3': ('encoder', 'stage3_1', 'conv2'),
    'conv5_4/bn': ('head', 'norm'), 'conv6': 'score',
  }[name]  # fmt: skip


NETWORKS = {
  'deconvnet': Network(
    lambda a: deconvnet.Model(num_classes=len(a['seg-score-voc.bias'])),
    caffe_deconvnet.deconvnet,
    _deconvnet_tap,
    outliers=4,
  ),
  'decouplednet': Network(
    _decouplednet,
    caffe_decouplednet.decouplednet,
    _decouplednet_tap,
    outliers=4,
    call=_decouplednet_call,
  ),
  'gan_generator': Network(
    lambda a: dcgan.Generator(
      (math.isqrt(len(a['linear.0.bias']) // len(a['deconv1.0.weight'])),) * 2,
      len(a['deconv1.0.weight']),
      len(a['deconv4.0.bias']),
    ),
    torch_ssgan.generator,
  ),
  'alexnet': Network(_alexnet('torchvision'), torch_alexnet.classifier, _alexnet_tap),
  'alexnet_caffe': Network(_alexnet('alexnet'), caffe_alexnet.classifier, _alexnet_tap),
  'caffenet': Network(_alexnet('caffenet'), caffe_alexnet.classifier, _alexnet_tap),
  'enet_lua': Network(
    lambda a: enet.Model(num_classes=len(a['full.bias']), encoder_head=True), torch_enet.lua, _enet_tap, 4
  ),
  'fcdensenet56': Network(_fc_densenet, torch_tiramisu.fc_densenet, _tiramisu_tap, out=_log_softmax),
  'fcdensenet67': Network(_fc_densenet, torch_tiramisu.fc_densenet, _tiramisu_tap, out=_log_softmax),
  'fcdensenet103': Network(_fc_densenet, torch_tiramisu.fc_densenet, _tiramisu_tap, out=_log_softmax),
  'gfrnet': Network(
    lambda a: gfrnet.Model(num_classes=len(a['prediction.bias'])), caffe_gfrnet.gfrnet, lambda name: (name,)
  ),
  'googlenet': Network(
    lambda a: googlenet.Classifier(num_classes=len(a['fc.bias']), form='torchvision'),
    torch_googlenet.classifier,
    _googlenet_tap,
  ),
  'googlenet_caffe': Network(
    lambda a: googlenet.Classifier(num_classes=len(a['loss3/classifier.bias'])),
    caffe_googlenet.classifier,
    _caffe_googlenet_tap,
  ),
  'linknet': Network(_linknet_port, torch_linknet.port, _linknet_tap, out=_log_softmax),
  'linknet_lua': Network(
    lambda a: linknet.Model(num_classes=len(a['head3.bias'])), torch_linknet.lua, _linknet_tap
  ),
  'pspnet50': Network(_pspnet, torch_pspnet.pspnet, _pspnet_tap),
  'pspnet101': Network(_pspnet, torch_pspnet.pspnet, _pspnet_tap),
  'pspnet50_caffe': Network(
    lambda a: pspnet.Model(num_classes=len(a['conv6.bias']), aux=False),
    caffe_resnet.pspnet,
    _caffe_pspnet_tap,
  ),
  'resnet50_caffe': Network(
    lambda a: resnet.Classifier(num_classes=len(a['fc1000.bias']), stem='caffe', strided='1x1'),
    caffe_resnet.classifier,
    _caffe_resnet_tap,
  ),
  'refinenet50': Network(_refinenet, torch_refinenet.refinenet, _refinenet_tap),
  'refinenet101': Network(_refinenet, torch_refinenet.refinenet, _refinenet_tap),
  'resnet18': Network(_resnet, torch_resnet.classifier, _resnet_tap),
  'resnet50': Network(_resnet, torch_resnet.classifier, _resnet_tap),
  'resnet101': Network(_resnet, torch_resnet.classifier, _resnet_tap),
  'fcn32s_vgg16': Network(_fcn, torch_fcn.fcn, _fcn_tap),
  'fcn16s_vgg16': Network(_fcn, torch_fcn.fcn, _fcn_tap),
  'fcn8s_vgg16': Network(_fcn, torch_fcn.fcn, _fcn_tap),
  'fcn8s_atonce_vgg16': Network(functools.partial(_fcn, at_once=True), torch_fcn.fcn, _fcn_tap),
  'fcn_alexnet': Network(
    lambda a: fcn_alexnet.Model(num_classes=len(a['score_fr.bias']), deconv='learned'),
    caffe_alexnet.fcn,
    _fcn_alexnet_tap,
  ),
  'segnet': Network(
    lambda a: segnet.Model(num_classes=len(a['conv11d.bias'])),
    caffe_segnet.segnet_onera,
    _onera_tap,
    outliers=4,
  ),
  'segnet_caffe': Network(
    lambda a: segnet.Model(num_classes=len(a['conv1_1_D.bias'])),
    caffe_segnet.segnet,
    _caffe_segnet_tap,
    outliers=4,
  ),
  'segnet_basic': Network(
    lambda a: segnet_basic.Model(num_classes=len(a['conv_classifier.bias'])),
    caffe_segnet.segnet_basic,
    _basic_tap,
    outliers=4,
  ),
  'segnet_ptsemseg': Network(
    lambda a: segnet.Model(num_classes=len(a['up1.conv2.cbr_unit.0.bias']), score_norm=True, ceil_mode=False),
    caffe_segnet.segnet_ptsemseg,
    lambda name: None if name == 'up1' else name.replace('down', 'pool').replace('up', 'decode'),
    outliers=4,
  ),
  'unet': Network(_jvanvugt, torch_unet.jvanvugt, _jvanvugt_tap),
  'unet_572': Network(_jvanvugt, torch_unet.jvanvugt, _jvanvugt_tap),
  'unet_bn_padded': Network(_milesial, torch_unet.milesial, _milesial_tap),
  'unet_bn_bilinear': Network(_milesial, torch_unet.milesial, _milesial_tap),
  'unet3d_bn': Network(_wolny, torch_unet3d.wolny, _wolny_tap),
  'unet3d_gn': Network(_wolny, torch_unet3d.wolny, _wolny_tap),
  'unet3d_paper': Network(_paper3d, torch_unet3d.paper, _paper3d_tap),
  'vgg16': Network(_vgg, torch_vgg.classifier, _vgg_tap((4, 9, 16, 23, 30))),
  'vgg16_bn': Network(_vgg, torch_vgg.classifier, _vgg_tap((6, 13, 23, 33, 43))),
}

# Others' networks that leave the paper and are not carried: stem -> why.
LEFT_OUT: dict[str, str] = {
  'enet': "davidtvs/PyTorch-ENet leaves the authors' network in nine places: activations before the sums, "
  'one slope a layer, both asymmetric convolutions normalised and in the other order, no biases, another '
  'epsilon, 2x2 transposed convolutions, another first pool and another last layer',
}
