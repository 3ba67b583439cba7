"""Facts of datasets: CamVid's figures against those computed independently from the public labels."""

import pathlib

import numpy as np
import pytest

from jseg.data import spec

# Training pixels and image counts of CamVid (367 images of 480x360), and weights to the printed digits:
# ENet's paper rule (void included), its encoder's 1.2, LinkNet's division by the greatest, median frequency.
PIXELS = (10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859, 714595, 3719877, 405385, 184967)
IMAGES = (366, 365, 366, 367, 349, 319, 351, 173, 360, 317, 201)
VOID = 2503995
PUBLISHED = tuple(0.5 * i for i in range(11))
WEIGHTS = {
  'median_frequency': '0.2793 0.2017 4.7865 0.1490 1.0000 0.4217 3.8467 1.9736 0.7889 6.3747 8.8587',
  'enet': '5.792 4.440 34.022 3.447 15.912 9.020 32.014 32.479 13.207 38.388 44.135',
  'enet_encoder': '3.188 2.782 5.250 2.401 4.566 3.843 5.207 5.217 4.347 5.330 5.413',
  'linknet': '2.275 1.779 20.085 1.422 6.671 3.533 18.024 18.483 5.356 25.378 34.729',
}


def make(**changes):
  options = {
    'name': 'street',
    'protocol': 'street11',
    'classes': tuple('abcdefghijk'),
    'palette': ((0, 0, 0),) * 11,
    'raw_void': (11,),
    'split_sizes': {'train': 367},
    'class_pixels': PIXELS,
    'class_image_pixels': tuple(n * 480 * 360 for n in IMAGES),
    'void_pixels': VOID,
    'weights': {'published': PUBLISHED},
  }
  return spec.DatasetSpec(**(options | changes))


@pytest.mark.parametrize('rule', WEIGHTS)
def test_weights_are_those_computed_elsewhere(rule):
  printed = WEIGHTS[rule].split()
  last_digit = 10.0 ** -len(printed[0].split('.')[1])
  expected = [float(w) for w in printed]
  np.testing.assert_allclose(make().class_weights(rule), expected, rtol=0, atol=0.6 * last_digit)


def test_plain_and_published_weights():
  assert make().class_weights('none') == (1.0,) * 11
  assert make().class_weights('published') == PUBLISHED
  assert make().num_classes == 11


def test_unknown_rule_lists_what_exists():
  with pytest.raises(ValueError, match=r"'focal' .* none, median_frequency, enet, .*, published"):
    make().class_weights('focal')


@pytest.mark.parametrize(
  ('counts', 'missing'),
  [((), 'every class'), ((0, *PIXELS[1:]), 'none for a'), ((*PIXELS[:-1], 0), 'none for k')],
)
def test_weights_without_counts_say_so(counts, missing):
  with pytest.raises(ValueError, match=missing):
    make(class_pixels=counts).class_weights('enet')


@pytest.mark.parametrize('field', ['palette', 'class_pixels', 'class_image_pixels'])
def test_lists_of_another_length_are_refused(field):
  with pytest.raises(ValueError, match=f'{field} has 3 entries for 11 classes'):
    make(**{field: ((0, 0, 0),) * 3 if field == 'palette' else (1, 2, 3)})


def test_data_dir_order(monkeypatch):
  monkeypatch.setenv('HOME', '/home/someone')
  monkeypatch.delenv('JSEG_DATA', raising=False)
  assert spec.data_dir() == pathlib.Path('/home/someone/.cache/jseg')
  monkeypatch.setenv('JSEG_DATA', '/disk')
  assert spec.data_dir() == pathlib.Path('/disk')
  assert spec.data_dir('~/here') == pathlib.Path('/home/someone/here')
