"""DeconvNet on PASCAL VOC 2012, 21 classes.

  python -m jseg.main --config=configs/deconvnet_voc.py --workdir=W --config.data.source=VOCdevkit

Source: Noh, Hong, Han (arXiv:1505.04366), section 4: SGD at 0.01, momentum 0.9, weight decay 5e-4, batch 64,
crops of 224x224; the VGG16 starts from ImageNet: name its weights in `init_from`. Departures: one stage on
random crops of whole images, theirs are two, on crops around objects and then on proposals, whose scores are
summed at test time; the steps of both stages in one. Published on the test server: 69.6 mean IU with
proposals, 70.5 with CRF (table 1); not to be expected in this way.
"""

from configs import base, deconvnet_camvid

PUBLISHED = (
  base.published(
    'server',
    'DeconvNet (arXiv:1505.04366), table 1',
    unlike='scores of object proposals are summed',
    mean_iu=69.6,
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = deconvnet_camvid.get_config()
  with config.unlocked():
    config.data.name, config.data.train_split = 'voc', 'trainaug'
    config.data.batch_size, config.data.crop = 64, (224, 224)
    config.optim.lr, config.train.steps = 0.01, 60_000
    config.eval.window, config.eval.batch_size, config.eval.every = (224, 224), 1, 5000
  return base.variant(config, arg)
