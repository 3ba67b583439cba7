"""PSPNet50 on CamVid, 11 classes, 480x360.

  python -m jseg.main --config=configs/pspnet50_camvid.py --workdir=W --config.data.source=CAMVID

No recipe is published. This is that of pspnet50_ade20k.py for a small set: crops of 353x473, 12,000 steps,
batch 8. ICNet's table quotes 69.1 mean IU for PSPNet50 at 720x960; a reproduction on crops of 480x360 has
48.78 mean IU, 83.55 global, 61.13 class. Another protocol each: no figure to reproduce.
"""

from configs import base, pspnet50_ade20k

PUBLISHED = (
  base.published('test', "ICNet's table", unlike='720x960', mean_iu=69.1),
  base.published(
    'test',
    'GitLanx/Semantic-Segmentation-PyTorch',
    unlike='crops of 480x360',
    mean_iu=48.78,
    pixel_accuracy=83.55,
    mean_accuracy=61.13,
  ),
)


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = pspnet50_ade20k.get_config()
  with config.unlocked():
    config.data.name, config.data.batch_size, config.data.crop = 'camvid', 8, (353, 473)
    config.eval.window, config.eval.every = (), 1000
    config.train.steps, config.train.save_every = 12_000, 500
  return base.variant(config, arg)
