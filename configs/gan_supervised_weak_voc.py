"""FCN-8s on 25 masks of each class of PASCAL VOC 2012: the baseline of gan_weak_voc.

  python -m jseg.main --config=configs/gan_supervised_weak_voc.py --workdir=W --config.data.source=VOCdevkit

As gan_supervised_voc, on the images that gan_weak_voc has masks of. No figure of the paper belongs to this
run: its widths, weights and rates could not be verified. Those here are of gengyanlei/ssgan, an unofficial
port (Adam 1e-4, twice that for the generator, poly to 0 over 20,000 steps, batch 16).
"""

from configs import base, gan_supervised_voc


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = gan_supervised_voc.get_config()
  config.data.subset = 'strong:25'
  return base.variant(config, arg)
