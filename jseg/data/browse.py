"""Looking at a split: contact sheets and pages for a web browser, so many images on each.

`write` makes NAME-SPLIT-0.png and NAME-SPLIT-0.html, and the same for further pages. A page is one file: its
pictures are in it, and it fetches nothing.
"""

import base64
import html
import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jseg.data import counts, labels, progress, spec

SHEET_SIDE, PAGE_SIDE = 200, 400  # longest side of a picture, pixels
_COLUMNS, _GAP, _SEAM, _FONT = 3, 8, 2, 12


class Item(NamedTuple):
  """An example to show: id, place in the split, size, row of counts [k+1]; image and labels made small."""

  id: str
  index: int
  height: int
  width: int
  counts: np.ndarray
  image: np.ndarray
  labels: np.ndarray

  @property
  def classes(self) -> list[int]:
    """Those that occur, the commonest first; void is the last of the row."""
    order = np.argsort(-self.counts, kind='stable')
    return [int(c) for c in order if self.counts[c]]


def write(
  dataset: spec.DatasetSpec,
  split: str,
  source: spec.Source,
  folder: pathlib.Path,
  *,
  page: int,
  pages: int,
  per_page: int,
) -> list[pathlib.Path]:
  """Writes contact sheets and pages of a split.

  Args:
    dataset: names, classes and palette.
    split: what it is called.
    source: its examples.
    folder: where the files go; made if need be.
    page: the first one to write, from 0.
    pages: how many, as far as there are so many; 0: all from `page` on.
    per_page: images on each.

  Returns:
    The files, sheet and page in turn.

  Raises:
    ValueError: a number is out of range, or an example cannot be read.
  """
  if per_page < 1 or pages < 0:
    raise ValueError(f'--per_page is {per_page} and --pages {pages}; they must be at least 1 and 0')
  last = (len(source) - 1) // per_page
  if not 0 <= page <= last:
    raise ValueError(f'--page is {page}; {len(source)} images, {per_page} a page, have pages 0 to {last}')
  chosen = range(page, last + 1 if not pages else min(page + pages, last + 1))
  folder.mkdir(parents=True, exist_ok=True)
  written = []
  for number in chosen:
    indices = range(number * per_page, min((number + 1) * per_page, len(source)))
    items = [
      read(source, i, dataset.num_classes)
      for i in progress.over(indices, f'{dataset.name} {split} page {number}: read')
    ]
    stem = f'{dataset.name}-{split}-'
    title = f'{dataset.name} {split}, page {number} of 0 to {last}: {len(items)} of {len(source)} images'
    links = {other: f'{stem}{other}.html' for other in (number - 1, number + 1) if other in chosen}
    picture, text = folder / f'{stem}{number}.png', folder / f'{stem}{number}.html'
    Image.fromarray(sheet(dataset, title, items)).save(picture)
    text.write_text(webpage(dataset, title, items, links), encoding='utf-8')
    written += [picture, text]
  return written


def read(source: spec.Source, index: int, num_classes: int) -> Item:
  """An example made small enough to show; of its own size if it is.

  Raises:
    ValueError: it cannot be read.
  """
  example = source[index]
  image, truth = example['image'], example['labels']
  row = counts.of_labels(truth, num_classes, str(example['id']))
  height, width = truth.shape
  small, small_truth = _shrunk(image, truth, PAGE_SIDE)
  return Item(_printable(str(example['id'])), index, height, width, row, small, small_truth)


def _shrunk(image: np.ndarray, truth: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
  """Image and labels with no side longer than `side`; labels are those of the nearest pixels."""
  height, width = truth.shape
  factor = min(1.0, side / max(height, width))
  h, w = max(1, round(factor * height)), max(1, round(factor * width))
  rows, columns = ((np.arange(n) * 2 + 1) * full // (2 * n) for n, full in ((h, height), (w, width)))
  return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), truth[rows[:, None], columns]


def _printable(text: str) -> str:
  """Characters that no font and no encoding has, as question marks."""
  return ''.join(c if c.isprintable() else '?' for c in text)


def _entries(dataset: spec.DatasetSpec) -> list[tuple[str, tuple[int, int, int]]]:
  """Name and colour of every class, and of void."""
  colours = [(int(r), int(g), int(b)) for r, g, b in (*dataset.palette, labels.VOID_COLOUR)]
  return [
    (_printable(name), colour) for name, colour in zip((*dataset.classes, 'void'), colours, strict=True)
  ]


def sheet(dataset: spec.DatasetSpec, title: str, items: Sequence[Item]) -> np.ndarray:
  """Image, labels and both of every item side by side, under a legend; uint8 [h w 3]."""
  small = [_shrunk(item.image, item.labels, SHEET_SIDE) for item in items]
  high, wide = (max(truth.shape[axis] for _, truth in small) for axis in (0, 1))
  cell = max(3 * wide + 2 * _SEAM, SHEET_SIDE) + _GAP
  line = _FONT + 6
  columns = min(_COLUMNS, len(items))
  width = columns * cell + _GAP
  font = ImageFont.load_default(_FONT)
  places, x, y = [], _GAP, _GAP + line
  for name, colour in _entries(dataset):
    room = int(font.getlength(name)) + 2 * _FONT + _GAP
    if x + room > width and x > _GAP:
      x, y = _GAP, y + line
    places.append((x, y, name, colour))
    x += room
  top = y + line + _GAP
  rows = -(-len(items) // columns)
  canvas = Image.new('RGB', (width, top + rows * (high + line + _GAP)), 'white')
  draw = ImageDraw.Draw(canvas)
  draw.text((_GAP, _GAP), _fitted(title, font, width - 2 * _GAP), 'black', font)
  for x, y, name, colour in places:
    draw.rectangle((x, y, x + _FONT, y + _FONT), colour, 'black')
    draw.text((x + _FONT + 4, y), name, 'black', font)
  for i, (item, (image, truth)) in enumerate(zip(items, small, strict=True)):
    x, y = _GAP + i % columns * cell, top + i // columns * (high + line + _GAP)
    for place, picture in enumerate(_three(dataset, image, truth)):
      canvas.paste(Image.fromarray(picture), (x + place * (wide + _SEAM), y))
    size = f'  {item.height}x{item.width}'
    caption = _fitted(item.id, font, cell - _GAP - font.getlength(size)) + size
    draw.text((x, y + high + 2), caption, 'black', font)
  return np.asarray(canvas)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
  """The text, its middle left out if it is too long: ids often differ at their ends only."""
  if font.getlength(text) <= room:
    return text
  kept = len(text)
  while kept > 1 and font.getlength(_clipped(text, kept)) > room:
    kept -= 1
  return _clipped(text, kept)


def _clipped(text: str, kept: int) -> str:
  return f'{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}'


def _three(dataset: spec.DatasetSpec, image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
  """The image, its labels in colours, and the labels over the image."""
  return image, labels.colourise(truth, dataset.palette), labels.overlay(image, truth, dataset.palette)


def webpage(dataset: spec.DatasetSpec, title: str, items: Sequence[Item], links: dict[int, str]) -> str:
  """A page for a web browser, whole in itself.

  Args:
    dataset: classes and palette.
    title: of the page.
    items: what it shows.
    links: files of the pages before and after it, by their numbers.
  """
  entries = _entries(dataset)
  on_page = np.sum([item.counts > 0 for item in items], axis=0)
  choices = ''.join(
    f'<option value="{c}">{html.escape(name)} ({on_page[c]})</option>'
    for c, (name, _) in enumerate(entries)
    if on_page[c]
  )
  legend = ''.join(f'<li>{_swatch(colour)}{html.escape(name)}</li>' for name, colour in entries)
  pages = ' '.join(f'<a href="{html.escape(file)}">page {number}</a>' for number, file in links.items())
  return _PAGE.format(
    title=html.escape(title),
    style=_STYLE,
    pages=pages,
    choices=choices,
    legend=legend,
    figures='\n'.join(_figure(dataset, item, entries) for item in items),
    script=_SCRIPT,
  )


def _figure(
  dataset: spec.DatasetSpec, item: Item, entries: Sequence[tuple[str, tuple[int, int, int]]]
) -> str:
  kinds = zip(('image', 'labels', 'overlay'), _three(dataset, item.image, item.labels), strict=True)
  pictures = ''.join(
    f'<img class="{kind}" alt="{kind}" src="{_uri(kind, picture)}">' for kind, picture in kinds
  )
  total = item.counts.sum()
  present = ''.join(
    f'<li>{_swatch(entries[c][1])}{html.escape(entries[c][0])} {100 * item.counts[c] / total:.2f}%</li>'
    for c in item.classes
  )
  return (
    f'<figure data-classes="{" ".join(map(str, item.classes))}"><div>{pictures}</div>'
    f'<figcaption><b>{html.escape(item.id)}</b> {item.height}x{item.width}, number {item.index}'
    f'<ul>{present}</ul></figcaption></figure>'
  )


def _swatch(colour: tuple[int, int, int]) -> str:
  return f'<i style="background:rgb{colour}"></i>'


def _uri(kind: str, picture: np.ndarray) -> str:
  """A picture as a data: URI: labels as PNG, which keeps their edges, photos as JPEG."""
  file, form = io.BytesIO(), 'png' if kind == 'labels' else 'jpeg'
  Image.fromarray(picture).save(file, form, **({} if form == 'png' else {'quality': 90}))
  return f'data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}'


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<nav>{pages}</nav>
<p><label>Images with <select id="class"><option value="">any class</option>{choices}</select></label>
<output id="shown"></output></p>
<ul class="legend">{legend}</ul>
</header>
<main>
{figures}
</main>
<script>{script}</script>
</body>
</html>
"""

_STYLE = """
body { font: 14px/1.4 sans-serif; margin: 1em; }
h1 { font-size: 1.2em; }
ul { list-style: none; margin: 0.3em 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0.2em 1em; }
i { display: inline-block; width: 0.9em; height: 0.9em; border: 1px solid #555; margin-right: 0.3em; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(40em, 100%), 1fr)); gap: 1em; }
figure { margin: 0; border: 1px solid #ccc; padding: 0.5em; }
figure[hidden] { display: none; }
figure div { display: flex; gap: 2px; }
img { width: 33.3%; object-fit: contain; align-self: start; }
img.labels { image-rendering: pixelated; }
figcaption { overflow-wrap: anywhere; }
"""

_SCRIPT = """
const choice = document.getElementById('class');
const figures = Array.from(document.querySelectorAll('figure'));
function show() {
  let shown = 0;
  for (const figure of figures) {
    const fits = choice.value === '' || figure.dataset.classes.split(' ').includes(choice.value);
    figure.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  document.getElementById('shown').textContent = shown + ' of ' + figures.length + ' shown';
}
choice.addEventListener('change', show);
show();
"""
