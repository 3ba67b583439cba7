"""Weakly supervised adversarial training on PASCAL VOC 2012: 25 masks a class, tags of all other images.

  python -m jseg.main --config=configs/gan_weak_voc.py --workdir=W --config.data.source=VOCdevkit

Souly, Spampinato, Shah (ICCV 2017), section 3: the generator makes images of given tags, and pixels of tagged
images are of a class among their tags. gan_supervised_weak_voc is the same network with the masks alone. No
figure of the paper belongs to this run: its widths, weights and rates could not be verified. Those here are
of gengyanlei/ssgan, an unofficial port (Adam 1e-4, twice that for the generator, poly to 0 over 20,000 steps,
batch 16).
"""

from configs import base, gan_semi_voc


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = gan_semi_voc.get_config()
  with config.unlocked():
    config.data.subset, config.task.conditional = 'strong:25', True
  return base.variant(config, arg)
