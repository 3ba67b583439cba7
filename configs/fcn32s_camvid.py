"""FCN-32s on VGG16 on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/fcn32s_camvid.py --workdir=W --config.data.source=CAMVID

Recipe: as fcn32s_voc.py; the authors trained no CamVid network. A reproduction has 48.62 mean IU, 82.04
global, 66.38 class on the 233 test images. VGG16 comes from ImageNet: name its weights in `init_from`.
"""

from configs import base, fcn32s_voc

PUBLISHED = (
  base.published(
    'test', 'GitLanx/Semantic-Segmentation-PyTorch', mean_iu=48.62, pixel_accuracy=82.04, mean_accuracy=66.38
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = fcn32s_voc.get_config()
  with config.unlocked():
    config.data.crop = ()
    config.data.name, config.data.train_split, config.eval.split = 'camvid', 'train', 'val'
  return base.variant(config, arg)
