"""Adversarial training on PASCAL VOC 2012: masks of an eighth of the images, and all images.

  python -m jseg.main --config=configs/gan_semi_voc.py --workdir=W --config.data.source=VOCdevkit

Souly, Spampinato, Shah (ICCV 2017), section 3: FCN-8s tells fake pixels from real ones beside its classes.
gan_supervised_voc is the same network without. No figure of the paper belongs to this run: its widths,
weights and rates could not be verified. Those here are of gengyanlei/ssgan, an unofficial port (Adam 1e-4,
twice that for the generator, poly to 0 over 20,000 steps, batch 16).
"""

from configs import base, gan_supervised_voc


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = gan_supervised_voc.get_config()
  with config.unlocked():
    config.task = base.section(
      name='semi', preprocess='caffe', form='fixed', generator_loss='saturating', generator_width=768,
      unlabelled_weight=0.5, generated_weight=0.5,
    )  # fmt: skip
    config.data.rest_batch_size = config.data.batch_size
    config.optim.groups = (('^generator/', 2.0, 1.0),)
  return base.variant(config, arg)
