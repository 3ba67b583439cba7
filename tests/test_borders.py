"""U-Net's weight map against loops and SciPy's components, and its values by hand."""

import numpy as np
import pytest
import scipy.ndimage

from jseg.data import borders, counts
from jseg.data.builders import isbi
from tests import layouts


def by_hand(truth, cell, w0, sigma):
  """Every pixel, every cell: the distance to the nearest of its pixels."""
  parts, count = scipy.ndimage.label(truth == cell)  # joined along sides
  places = [np.argwhere(parts == part) for part in range(1, count + 1)]
  known = truth[truth != 255]
  classes = sorted(set(known.tolist()))
  result = np.zeros(truth.shape)
  for y, x in np.argwhere(truth != 255):
    result[y, x] = len(known) / (len(classes) * (known == truth[y, x]).sum())
    if truth[y, x] != cell and count > 1:
      nearest = sorted(np.hypot(*(place - (y, x)).T).min() for place in places)
      result[y, x] += w0 * np.exp(-((nearest[0] + nearest[1]) ** 2) / (2 * sigma**2))
  return result


@pytest.mark.parametrize('seed', range(4))
def test_equals_a_loop_over_pixels_and_cells(seed):
  rng = np.random.default_rng(seed)
  field = scipy.ndimage.gaussian_filter(rng.normal(size=(34, 41)), 1.5)
  truth = (field > np.quantile(field, 0.4)).astype(np.uint8)
  truth[rng.random(truth.shape) < 0.05] = 255
  truth[5:9, 5:9] = 2  # a third class
  for w0, sigma in ((10.0, 5.0), (3.0, 1.2)):
    found = borders.weight_map(truth, 1, w0=w0, sigma=sigma)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(truth, 1, w0, sigma), rtol=1e-5, atol=1e-5)


def test_two_cells_and_the_gap_between_them():
  truth = np.zeros((9, 12), np.uint8)
  truth[:, :4] = truth[:, 7:] = 1  # columns 4, 5 and 6 lie between: distances 1 + 3, 2 + 2, 3 + 1
  found = borders.weight_map(truth, 1)
  background, cell = 108 / (2 * 27), 108 / (2 * 81)
  np.testing.assert_allclose(found[:, 4:7], background + 10 * np.exp(-16 / 50), rtol=1e-6)
  np.testing.assert_allclose(found[:, :4], cell, rtol=1e-6)
  assert found[:, 4].mean() > 8  # it matters


def test_one_cell_or_none_has_no_border():
  truth = np.zeros((6, 6), np.uint8)
  np.testing.assert_array_equal(borders.weight_map(truth, 1), np.ones((6, 6)))
  truth[:, :3] = 1
  np.testing.assert_array_equal(borders.weight_map(truth, 1), np.ones((6, 6)))
  np.testing.assert_array_equal(borders.weight_map(np.full((6, 6), 255, np.uint8), 1), np.zeros((6, 6)))


def test_cells_that_touch_at_a_corner_are_two():
  truth = np.zeros((8, 8), np.uint8)
  truth[:4, :4] = truth[4:, 4:] = 1
  np.testing.assert_allclose(borders.weight_map(truth, 1)[0, 7], 1 + 10 * np.exp(-64 / 50), rtol=1e-5)


@pytest.mark.parametrize(
  ('truth', 'sigma', 'message'),
  [
    (np.zeros((2, 2), np.int32), 5.0, 'int32'),
    (np.zeros((2, 2, 1), np.uint8), 5.0, r'\(2, 2, 1\)'),
    (np.zeros((2, 2), np.uint8), 0.0, 'sigma is 0.0'),
  ],
)
def test_what_is_no_label_map_is_refused(truth, sigma, message):
  with pytest.raises(ValueError, match=message):
    borders.weight_map(truth, 1, sigma=sigma)


def test_isbi_gives_weights_where_asked(tmp_path):
  layouts.isbi(tmp_path / 'train')
  options = {'source': str(tmp_path / 'train'), 'directory': str(tmp_path / 'copy')}
  plain = isbi.open_split('train', **options)
  weighted = isbi.open_split('train', **options, border_weights=True)
  assert len(weighted) == len(plain) == 5
  for index in range(5):
    one, other = plain[index], weighted[index]
    assert 'weight' not in one
    assert other.keys() == one.keys() | {'weight'}
    np.testing.assert_array_equal(other['image'], one['image'])
    np.testing.assert_allclose(other['weight'], by_hand(one['labels'], 1, 10.0, 5.0), rtol=1e-5, atol=1e-5)
    assert weighted[index]['weight'] is other['weight']  # computed once
    with pytest.raises(ValueError, match='read-only'):
      other['weight'][:] = 0
  tables = [counts.read(source, 2).tolist() for source in (plain, weighted)]
  assert tables[0] == tables[1]
