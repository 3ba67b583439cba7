"""FCN-8s on VGG16, trained at once, on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/fcn8s_camvid.py --workdir=W --config.data.source=CAMVID

Source of the recipe: fcn.berkeleyvision.org, voc-fcn8s-atonce: batch 1, the loss summed over pixels,
momentum 0.99, weight decay 5e-4, fixed rate 1e-10, biases at twice the rate without decay, pool4 and pool3
scaled by 0.01 and 0.0001. The authors trained no CamVid network; FC-DenseNet's table 3 quotes 57.0 mean IU
and 88.0 global for FCN-8s, a reproduction 50.36 / 83.62 / 66.79. Both start from an ImageNet VGG16: name its
converted weights in `init_from`; from scratch this recipe does not move.
"""

from configs import base

PUBLISHED = (
  base.published('test', 'FC-DenseNet (arXiv:1611.09326), table 3', mean_iu=57.0, pixel_accuracy=88.0),
  base.published(
    'test', 'GitLanx/Semantic-Segmentation-PyTorch', mean_iu=50.36, pixel_accuracy=83.62, mean_accuracy=66.79
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='fcn', stride=8, at_once=True)
  config.task = base.section(name='semantic', preprocess='caffe', normalise='images')
  config.data.name, config.data.batch_size = 'camvid', 1
  config.optim.name, config.optim.lr, config.optim.momentum = 'sgd', 1e-10, 0.99
  config.optim.weight_decay = 5e-4
  config.optim.groups = (('bias', 2.0, 0.0),)
  config.eval.split, config.eval.every = 'val', 4000
  config.train.steps, config.train.save_every = 300_000, 2000
  return base.variant(config, arg)
