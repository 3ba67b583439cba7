"""The lines of jseg.engine.results as Markdown and as a page for a browser."""

import html
from collections.abc import Mapping, Sequence

from jseg.engine.results import Row

# Scores that have a column where a line gives them, in this order, and what it is called.
_COLUMNS = {
  'mean_iu': 'mean IU',
  'pixel_accuracy': 'pixel accuracy',
  'mean_accuracy': 'mean accuracy',
  'frequency_weighted_iu': 'f.w. IU',
  'box_ap': 'box AP',
  'mask_ap': 'mask AP',
  'keypoint_ap': 'keypoint AP',
}
_NOTE = 'Percent; in brackets the difference to the published figure that a line is set beside.'
_STYLE = """body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ccc; padding: .3em .6em; text-align: left; vertical-align: top }
td.figure, th.figure { text-align: right; white-space: nowrap }
tr.measured { background: #eef6ee }"""


def markdown(tables: Mapping[str, Sequence[Row]]) -> str:
  """A heading and a table for each dataset; figures of runs are bold."""
  parts = []
  for dataset, rows in tables.items():
    head, *lines = _cells(rows)
    parts += [f'### {dataset}', '', _line(head), '|---' * len(head) + '|']
    for row, cells in zip(rows, lines, strict=True):
      bold = [f'**{cell}**' if cell and row.measured and 2 <= i < len(cells) - 1 else cell
              for i, cell in enumerate(cells)]  # fmt: skip
      parts.append(_line(bold))
    parts.append('')
  return '\n'.join([*parts, _NOTE])


def _line(cells: Sequence[str]) -> str:
  return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'


def page(tables: Mapping[str, Sequence[Row]]) -> str:
  """The same as an HTML page that needs nothing else."""
  parts = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>jseg</title><style>{_STYLE}</style>']
  for dataset, rows in tables.items():
    head, *lines = _cells(rows)
    parts.append(f'<h2>{html.escape(dataset)}</h2><table>{_html_line("th", head)}')
    for row, cells in zip(rows, lines, strict=True):
      parts.append(_html_line('td', cells, ' class="measured"' if row.measured else ''))
    parts.append('</table>')
  return '\n'.join([*parts, f'<p>{html.escape(_NOTE)}</p></html>', ''])


def _html_line(tag: str, cells: Sequence[str], attributes: str = '') -> str:
  last = len(cells) - 1
  inside = ''.join(
    f'<{tag}{" class=figure" if 2 <= i < last else ""}>{html.escape(cell)}</{tag}>'
    for i, cell in enumerate(cells)
  )
  return f'<tr{attributes}>{inside}</tr>'


def _cells(rows: Sequence[Row]) -> list[list[str]]:
  """The head and a list of cells for each row; a config is named in the first of its rows only."""
  names = [name for name in _COLUMNS if any(name in row.scores for row in rows)]
  lines, before = [['config', 'split', *(_COLUMNS[name] for name in names), 'source']], ''
  for row in rows:
    figures = [_figure(row, name) for name in names]
    lines.append(['' if row.recipe == before else row.recipe, row.split, *figures, row.source])
    before = row.recipe
  return lines


def _figure(row: Row, name: str) -> str:
  """As published, or to one place: '50.9 ± 0.4 (-0.4)'."""
  if name not in row.scores:
    return ''
  if not row.measured:
    return f'{row.scores[name]:.2f}'.removesuffix('0')
  text = f'{row.scores[name]:.1f}'
  if name in row.spread:
    text += f' ± {row.spread[name]:.1f}'
  return text + (f' ({row.differences[name]:+.1f})' if name in row.differences else '')
