"""Says what a config's network is made of: layers, parameters, FLOPs, strides, receptive fields.

  python -m jseg.summary --config=configs/segnet_camvid.py --size=360,640
  python -m jseg.summary --table='configs/*_camvid.py'

Everything follows from shapes: nothing is compiled and no weight is made. FLOPs are 2 for every multiply-add
of convolutions, transposed convolutions and dense layers, nothing else. A field is the height, in rows of
the image, of what one pixel of a map can see away from the border; BatchNorm counts as seeing one pixel.
Prints tables and, last, the same figures as one line of JSON; with --table, Markdown with one row for every
distinct network of these config files.
"""

import json
from typing import Any

from absl import flags
from ml_collections import config_flags

from jseg.engine import reports, workdirs

_CONFIG = config_flags.DEFINE_config_file('config', None, 'A file of configs/, and overrides.')
_SIZE = flags.DEFINE_list('size', '', "height,width in pixels; empty: the config's crop, or 360,480.")
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 1, 'Images that FLOPs and shapes are of.')
_TABLE = flags.DEFINE_list('table', '', 'Config files, as patterns: one Markdown row for each network.')


def _run() -> None:
  options: dict[str, Any] = {
    'size': workdirs.parse_size(_SIZE.value),
    'batch_size': _BATCH_SIZE.value,
  }
  if (_CONFIG.value is None) == (not _TABLE.value):
    raise ValueError('name one of --config, a file of configs/, and --table, patterns of such files')
  if _TABLE.value:
    print(reports.markdown(_TABLE.value, **options))
    return
  report = reports.summarise(_CONFIG.value, **options)
  print(reports.text(report))
  print(json.dumps(report))


if __name__ == '__main__':
  workdirs.start('jseg.summary', _run)
