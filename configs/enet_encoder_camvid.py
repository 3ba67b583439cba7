"""ENet on CamVid, the first of its two stages: the encoder alone.

  python -m jseg.main --config=configs/enet_encoder_camvid.py --workdir=W --config.data.source=CAMVID

Source and recipe: as enet_camvid.py; e-lab/ENet-training trains the encoder against labels at an eighth of
the size first. Then the whole network: --config=configs/enet_camvid.py --config.init_from=W. No figure is
published for this stage.
"""

from configs import base, enet_camvid


def get_config(arg: str = ''):
  """See the module's docstring."""
  config = enet_camvid.get_config()
  with config.unlocked():
    config.model.decoder = False
    config.task.losses = (('encoder_logits', 1.0),)
  return base.variant(config, arg)
