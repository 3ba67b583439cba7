"""The table of networks that the walking tests run over."""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jseg.models import (
  deconvnet,
  decouplednet,
  enet,
  fc_densenet,
  fcn,
  fcn_alexnet,
  fcn_basic,
  fcn_googlenet,
  fcn_resnet,
  gfrnet,
  linknet,
  pspnet,
  refinenet,
  segnet,
  segnet_basic,
  unet,
  unet3d,
)
from jseg.models.encoders import alexnet, densenet, googlenet, resnet, vgg

MODULES = {
  'deconvnet': deconvnet,
  'decouplednet': decouplednet,
  'enet': enet,
  'fc_densenet': fc_densenet,
  'fcn': fcn,
  'fcn_basic': fcn_basic,
  'gfrnet': gfrnet,
  'fcn_alexnet': fcn_alexnet,
  'fcn_googlenet': fcn_googlenet,
  'fcn_resnet': fcn_resnet,
  'linknet': linknet,
  'pspnet': pspnet,
  'refinenet': refinenet,
  'segnet': segnet,
  'segnet_basic': segnet_basic,
  'unet': unet,
  'unet3d': unet3d,
}


class Network(NamedTuple):
  """A network with what others say about it."""

  id: str
  name: str  # its file in jseg/models
  num_classes: int
  channels: int  # of the image
  parameters: int  # trainable scalars ...
  source: str  # ... and who states that number
  options: dict[str, Any] = {}
  tiny: dict[str, Any] = {'width': 4}  # options that make it small and keep its wiring
  sizes: tuple[tuple[int, ...], ...] = ((1, 1), (33, 47))  # images it takes, odd ones among them
  refused: tuple[tuple[int, ...], ...] = ()  # images it refuses, by a ValueError that names a legal size
  small: tuple[int, ...] = (19, 37)  # the size for the tests that compute
  # With `tiny`, options that let it learn two images; among them the test's own: Adam's `rate`, the images'
  # `side`, and `rtol`, how far one device and eight may differ.
  learns: dict[str, Any] = {}

  def model(self, **options) -> nn.Module:
    """The network, with its options and these."""
    return MODULES[self.name].Model(num_classes=self.num_classes, **{**self.options, **options})


_ONERA = 'delta-onera/segnet_pytorch, sum over its parameters; the paper of ENet quotes 29.46M'
_SEGNET = 'the layers of segnet_inference.prototxt, summed; published as 29.5M'
_BASIC = 'the layers of segnet_basic_inference.prototxt, summed; published as 1.425M'
# 7x7 kernels 9,408 + 3 * 200,704, biases and normalisation 768: 612,288 in the encoder. Then decoders of
# 3,328 (49 + 1 + 2 a channel), or 715 a 1x1 to the classes and 64 k * k an upsampling of k channels.
_ROWS = "the layers of the paper's text with biases, summed; its table 1 says"
_JVANVUGT = 'jvanvugt/pytorch-unet, sum over its parameters'
_UNET = 'jvanvugt/pytorch-unet, 31,030,658 for 1 channel and 2 classes, + 576 a channel and 65 a class'
_FCN = 'wkentaro/pytorch-fcn, sum over its parameters'
_FCN_FROZEN = f'{_FCN}, less the transposed convolutions; published as 134M'

_FCN_ALEXNET_LEARNED = "the layers of the authors' voc-fcn-alexnet/val.prototxt, summed"
_FCN_ALEXNET = f'{_FCN_ALEXNET_LEARNED}, less the transposed convolution; published as 57M'
_FCN_GOOGLENET = 'the layers of bvlc_googlenet but the last, and 1,024 * 21 + 21; published as 6M'
_FCN_GOOGLENET_TV = "torchvision's googlenet, 6,624,904, with 21 classes in place of 1,000"

_SEGMENTATION = 'torchvision, num_params of the weights'
_BARE = "torchvision's fcn_resnet50, 35,322,218, less the 2,365,205 of its auxiliary head"
_SHALLOW = {'width': 4, 'depth': 18}

_TIRAMISU = 'bfortuner/pytorch_tiramisu, sum over its parameters; with the statistics as published'
_SMALL = {'growth': 2, 'down': (2, 1), 'bottom': 1, 'width': 4}
_LUA = "the layers of the authors' model.lua, summed; published as 11.5M"

_UNET3D = 'published 19,069,955, which counts no normalisation, and its scales and shifts, 4,672'
_WOLNY = 'wolny/pytorch-3dunet, sum over its parameters'
_TINY3D = {'width': 2, 'depth': 2}
_REFINENET = 'DrSleep/refinenet-pytorch, sum over its parameters'
_REFINE = 'the layers of DrSleep/refinenet-pytorch with that depth, classes or stages of pooling, summed'
_SMALL_REFINE = {'width': 4, 'depth': 50, 'norm': 'bn'}  # frozen statistics would not move
_ODD = ((33, 47),)

_ENET = "the layers of the authors' Lua files, summed; published as 0.37M with the statistics"

_DECONVNET = 'the layers of DeconvNet_inference_deploy.prototxt, summed; published as 252M'
_DECOUPLED = 'the layers of the released prototxt, summed'
_QUERIED = {'width': 2, 'window': 1, 'frozen': False, 'threshold': 0.0}  # all classes, so that all learn
_GFRNET = 'the layers of test_camvid_gate.prototxt, summed'

_PSPNET = 'the layers of the released prototxt, summed, at 150 classes; 513 a class'
_THIN = {'width': 4, 'depth': 50}
_SEMSEG = 'hszhao/semseg, sum over its parameters'

NETWORKS = (
  Network(
    'decouplednet', 'decouplednet', 21, 3, 307_450_390, f'{_DECOUPLED}, less the bridge', {}, _QUERIED
  ),
  Network(
    'decouplednet-layers', 'decouplednet', 21, 3, 427_078_678, _DECOUPLED, {'bridge': 'layers'}, _QUERIED
  ),
  # Up to 224 pixels fc6 leaves one vector of an image. Normalised over two images that is 1 or -1 whatever
  # they show: no gradient passes, or at first, where they hardly differ, one that rounding decides.
  Network(
    'deconvnet', 'deconvnet', 21, 3, 251_805_653, _DECONVNET, {}, {'width': 2},
    learns={'width': 4, 'filler': 'he', 'side': 232, 'rtol': 1e-2},
  ),
  Network('enet', 'enet', 11, 3, 363_791, _ENET, {}, {'width': 8}, learns={'rate': 1e-2}),
  Network(
    'enet-encoder', 'enet', 11, 3, 339_575, _ENET, {'decoder': False}, {'width': 8},
  ),
  Network(
    'fcdensenet56', 'fc_densenet', 11, 3, 1_376_795, _TIRAMISU,
    {'growth': 12, 'down': (4,) * 5, 'bottom': 4}, _SMALL, ((32, 33), (45, 70)), ((31, 64), (40, 16)),
  ),
  Network(
    'fcdensenet67', 'fc_densenet', 11, 3, 3_463_243, _TIRAMISU,
    {'growth': 16, 'down': (5,) * 5, 'bottom': 5}, _SMALL, ((32, 33),),
  ),
  Network('fcdensenet103', 'fc_densenet', 11, 3, 9_322_091, _TIRAMISU, {}, _SMALL, ((45, 70),)),
  Network('gfrnet', 'gfrnet', 11, 3, 29_194_090, _GFRNET),
  Network('gfrnet-sum', 'gfrnet', 11, 3, 29_194_090, _GFRNET, {'gate': 'sum'}),
  Network('linknet', 'linknet', 11, 3, 11_535_659, _LUA, {}, {'width': 8}, learns={'width': 32}),
  Network(
    'linknet-port', 'linknet', 21, 3, 11_535_957, 'e-lab/pytorch-linknet, sum over its parameters',
    {'sum_relu': False, 'decoder_bias': False, 'decoder_eps': 1e-5}, {'width': 8},
  ),
  Network('refinenet50', 'refinenet', 21, 3, 99_060_309, _REFINENET, {'depth': 50}, _SMALL_REFINE),
  Network('refinenet101', 'refinenet', 21, 3, 118_052_437, _REFINENET, {}, _SMALL_REFINE, _ODD),
  Network('refinenet152', 'refinenet', 21, 3, 133_696_085, _REFINE, {'depth': 152}, _SMALL_REFINE, _ODD),
  Network('refinenet50-40', 'refinenet', 40, 3, 99_104_104, _REFINE, {'depth': 50}, _SMALL_REFINE, _ODD),
  Network('refinenet101-40', 'refinenet', 40, 3, 118_096_232, _REFINE, {}, _SMALL_REFINE, _ODD),
  Network('refinenet152-40', 'refinenet', 40, 3, 133_739_880, _REFINE, {'depth': 152}, _SMALL_REFINE, _ODD),
  Network(
    'refinenet50-crp2', 'refinenet', 21, 3, 90_802_773, _REFINE,
    {'depth': 50, 'crp_stages': 2, 'crp_order': 'conv_pool'}, _SMALL_REFINE,
  ),
  Network(
    'refinenet101-crp2', 'refinenet', 21, 3, 109_794_901, _REFINE,
    {'crp_stages': 2, 'crp_order': 'conv_pool'}, _SMALL_REFINE, _ODD,
  ),
  Network(
    'refinenet152-crp2', 'refinenet', 21, 3, 125_438_549, _REFINE,
    {'depth': 152, 'crp_stages': 2, 'crp_order': 'conv_pool'}, _SMALL_REFINE, _ODD,
  ),
  Network('pspnet50', 'pspnet', 150, 3, 46_782_550, _PSPNET, {'aux': False}, _THIN),
  Network('pspnet50-11', 'pspnet', 11, 3, 46_711_243, _PSPNET, {'aux': False}, _THIN),
  Network('pspnet101', 'pspnet', 150, 3, 65_774_678, _PSPNET, {'aux': False, 'depth': 101}, _THIN),
  Network('pspnet152', 'pspnet', 150, 3, 81_418_326, _PSPNET, {'aux': False, 'depth': 152}, _THIN),
  Network('pspnet269', 'pspnet', 150, 3, 123_298_902, _PSPNET, {'aux': False, 'depth': 269}, _THIN),
  Network(
    'pspnet50-semseg', 'pspnet', 21, 3, 49_081_578, _SEMSEG,
    {'strided': '3x3', 'dropout_maps': True}, _THIN,
  ),
  Network('segnet', 'segnet', 11, 3, 29_449_355, _ONERA),
  Network('segnet-12', 'segnet', 12, 3, 29_449_932, _SEGNET),
  Network('segnet-dropout', 'segnet', 11, 3, 29_449_355, _ONERA, {'dropout': 0.5}),
  Network(
    'segnet-port', 'segnet', 21, 3, 29_455_167, 'meetshah1995/pytorch-semseg, sum over its parameters',
    {'score_norm': True, 'ceil_mode': False}, sizes=((32, 32), (33, 47)), refused=((31, 64), (64, 20)),
    small=(35, 47),
  ),
  Network('segnet_basic', 'segnet_basic', 11, 3, 1_416_587, _BASIC),
  Network('segnet_basic-dropout', 'segnet_basic', 11, 3, 1_416_587, _BASIC, {'dropout': 0.5}),
  Network('segnet_basic-addition', 'segnet_basic', 11, 3, 1_416_587, _BASIC, {'addition': True}),
  Network(
    'segnet_basic-single', 'segnet_basic', 11, 3, 626_315, f'{_ROWS} 0.625M', {'filters': 'single'}
  ),
  Network('fcn_basic', 'fcn_basic', 11, 3, 646_124, f'{_ROWS} 0.65M'),
  Network('fcn_basic-noaddition', 'fcn_basic', 11, 3, 643_979, f'{_ROWS} 0.65M', {'addition': False}),
  Network('fcn_basic-noreduction', 'fcn_basic', 11, 3, 1_661_579, f'{_ROWS} 1.625M', {'reduction': False}),
  Network(
    'fcn_basic-noaddition-noreduction', 'fcn_basic', 11, 3, 1_661_579, f'{_ROWS} 1.625M',
    {'addition': False, 'reduction': False},
  ),
  Network(
    'fcn_basic-bilinear', 'fcn_basic', 11, 3, 613_003, f'{_ROWS} 0.625M',
    {'upsample': 'bilinear', 'addition': False},
  ),
  Network('unet', 'unet', 2, 1, 31_030_658, _JVANVUGT, {}, {'width': 2}, learns={'width': 6, 'dropout': 0.0}),
  Network('unet-3-11', 'unet', 11, 3, 31_032_395, _UNET, {}, {'width': 2}, ((5, 120),)),
  Network(
    'unet-valid', 'unet', 2, 1, 31_030_658, _JVANVUGT, {'border': 'none'}, {'width': 2, 'depth': 3},
    sizes=(), refused=((187, 188), (100, 300)), small=(45, 52),
  ),
  Network(
    'unet-bilinear', 'unet', 2, 3, 17_263_042, 'milesial/Pytorch-UNet, bilinear=True, sum of its parameters',
    {'padding': 'same', 'norm': 'bn', 'upsample': 'bilinear'}, {'width': 2},
    sizes=((16, 16), (45, 61)), refused=((15, 64), (64, 1)),
  ),
  Network(
    'unet-same-bn', 'unet', 2, 3, 31_037_698, 'milesial/Pytorch-UNet, sum over its parameters',
    {'padding': 'same', 'norm': 'bn'}, {'width': 2},
    sizes=((16, 16), (45, 61)), refused=((15, 64), (64, 1)),
  ),
  Network(
    'unet3d', 'unet3d', 3, 3, 19_069_955 + 4_672, _UNET3D, {}, {**_TINY3D, 'norm': 'bn'},
    ((1, 1, 1), (5, 18, 29)), small=(3, 8, 5),
  ),
  Network(
    'unet3d-valid', 'unet3d', 3, 3, 19_069_955 + 4_672, _UNET3D, {'border': 'none', 'norm': 'bn'}, _TINY3D,
    sizes=(), refused=((91, 92, 92), (92, 200, 60)), small=(18, 21, 20),
  ),
  Network(
    'unet3d-port-bn', 'unet3d', 3, 3, 16_319_779, _WOLNY,
    {'padding': 'same', 'upsample': 'nearest', 'conv_bias': False, 'norm': 'bn'}, _TINY3D,
    ((8, 8, 8), (9, 21, 30)), ((7, 8, 8), (16, 16, 1)), (4, 7, 5),
  ),
  Network(
    'unet3d-port-gn', 'unet3d', 2, 1, 16_318_756, _WOLNY,
    {'padding': 'same', 'upsample': 'nearest', 'conv_bias': False, 'norm': 'gn', 'norm_first': True},
    {'width': 4, 'depth': 2}, ((8, 8, 8), (9, 21, 30)), ((8, 8, 7),), (4, 7, 5),
  ),
  Network(
    'fcn32s', 'fcn', 21, 3, 134_346_581, _FCN_FROZEN, {'stride': 32}, {'width': 1},
    learns={'width': 2, 'deconv': 'learned'},
  ),
  Network('fcn16s', 'fcn', 21, 3, 134_357_354, _FCN_FROZEN, {'stride': 16}, {'width': 1}),
  Network('fcn8s', 'fcn', 21, 3, 134_362_751, _FCN_FROZEN, {}, {'width': 1}),
  Network('fcn8s-11', 'fcn', 11, 3, 134_314_081, _FCN_FROZEN, {'at_once': True}, {'width': 1}),
  Network(
    'fcn32s-learned', 'fcn', 21, 3, 136_152_917, _FCN, {'stride': 32, 'deconv': 'learned'}, {'width': 1}
  ),
  Network(
    'fcn16s-learned', 'fcn', 21, 3, 134_815_994, _FCN, {'stride': 16, 'deconv': 'learned'}, {'width': 1}
  ),
  Network(
    'fcn8s-learned', 'fcn', 21, 3, 134_489_759, _FCN, {'deconv': 'learned', 'at_once': True}, {'width': 1}
  ),
  Network(
    'fcn_alexnet', 'fcn_alexnet', 21, 3, 56_954_261, _FCN_ALEXNET, {}, {'width': 2},
    learns={'width': 4, 'deconv': 'learned'},
  ),
  Network(
    'fcn_alexnet-learned', 'fcn_alexnet', 21, 3, 58_704_590, _FCN_ALEXNET_LEARNED, {'deconv': 'learned'},
    {'width': 2},
  ),
  Network(
    'fcn_googlenet', 'fcn_googlenet', 21, 3, 5_995_077, _FCN_GOOGLENET, {}, {'width': 8},
    learns={'deconv': 'learned'},
  ),
  Network(
    'fcn_googlenet-tv', 'fcn_googlenet', 21, 3, 5_621_429, _FCN_GOOGLENET_TV, {'form': 'torchvision'},
    {'width': 8},
  ),
  Network(
    'fcn_resnet50', 'fcn_resnet', 21, 3, 35_322_218, _SEGMENTATION, {}, _SHALLOW,
    learns={'rate': 1e-2},
  ),
  Network('fcn_resnet101', 'fcn_resnet', 21, 3, 54_314_346, _SEGMENTATION, {'depth': 101}, _SHALLOW, _ODD),
  Network('fcn_resnet50-bare', 'fcn_resnet', 21, 3, 32_957_013, _BARE, {'aux': False}, _SHALLOW, _ODD),
)  # fmt: skip


class Encoder(NamedTuple):
  """An encoder as the classifier that its weights come from."""

  id: str
  name: str  # its file in jseg/models/encoders
  classifier: nn.Module
  parameters: int
  source: str


_TORCHVISION = 'torchvision, num_params of the weights'

_CAFFE_MODELS = 'the layers of the deploy.prototxt in BVLC/caffe, summed'

ENCODERS = (
  Encoder('alexnet', 'alexnet', alexnet.Classifier(form='alexnet'), 60_965_224, _CAFFE_MODELS),
  Encoder('caffenet', 'alexnet', alexnet.Classifier(), 60_965_224, _CAFFE_MODELS),
  Encoder('alexnet-tv', 'alexnet', alexnet.Classifier(form='torchvision'), 61_100_840, _TORCHVISION),
  Encoder('densenet121', 'densenet', densenet.Classifier(), 7_978_856, _TORCHVISION),
  Encoder('densenet161', 'densenet', densenet.Classifier(depth=161), 28_681_000, _TORCHVISION),
  Encoder('densenet169', 'densenet', densenet.Classifier(depth=169), 14_149_480, _TORCHVISION),
  Encoder('densenet201', 'densenet', densenet.Classifier(depth=201), 20_013_928, _TORCHVISION),
  Encoder('googlenet', 'googlenet', googlenet.Classifier(), 6_998_552, _CAFFE_MODELS),
  Encoder('googlenet-tv', 'googlenet', googlenet.Classifier(form='torchvision'), 6_624_904, _TORCHVISION),
  Encoder('resnet18', 'resnet', resnet.Classifier(depth=18), 11_689_512, _TORCHVISION),
  Encoder('resnet34', 'resnet', resnet.Classifier(depth=34), 21_797_672, _TORCHVISION),
  Encoder('resnet50', 'resnet', resnet.Classifier(depth=50), 25_557_032, _TORCHVISION),
  Encoder('resnet101', 'resnet', resnet.Classifier(depth=101), 44_549_160, _TORCHVISION),
  Encoder('resnet152', 'resnet', resnet.Classifier(depth=152), 60_192_808, _TORCHVISION),
  Encoder('vgg16', 'vgg', vgg.Classifier(), 138_357_544, _TORCHVISION),
  Encoder('vgg16_bn', 'vgg', vgg.Classifier(norm='bn'), 138_365_992, _TORCHVISION),
  Encoder('vgg19', 'vgg', vgg.Classifier(depth=19), 143_667_240, _TORCHVISION),
  Encoder('vgg19_bn', 'vgg', vgg.Classifier(depth=19, norm='bn'), 143_678_248, _TORCHVISION),
)


def count(params: Any) -> int:
  """Scalars in a pytree of arrays or shapes."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
