"""U-Net with same padding and BatchNorm on your own photos, of any sizes, with masks of your own.

  python -m jseg.main --config=configs/unet_folder.py --workdir=runs/mine --config.data.source=FOLDER
  python -m jseg.predict --workdir=runs/mine --images=FOLDER2 --output=out

FOLDER holds images/, masks/ and classes.json, as the head of jseg/data/builders/folder.py says. No paper has
this row. Crops of 256 pixels are trained on; photos are measured and predicted in windows of that size.
"""

from configs import base


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = base.get_config()
  config.model = base.section(name='unet', padding='same', norm='bn', width=32, depth=5, dropout=0.0)
  config.task = base.section(name='semantic', preprocess='imagenet')
  config.data.name, config.data.batch_size, config.data.crop = 'folder', 8, (256, 256)
  config.augment.flip, config.augment.scale = True, (0.75, 1.5)
  config.optim.name, config.optim.lr, config.optim.schedule = 'adam', 1e-3, 'cosine'
  config.optim.warmup = 50
  config.eval.every, config.eval.window = 500, (256, 256)
  config.train.steps, config.train.save_every = 4000, 250
  return base.variant(config, arg)
