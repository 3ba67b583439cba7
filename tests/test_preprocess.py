"""Input conventions, by hand."""

import numpy as np
import pytest

from jseg.ops import preprocess

PIXEL = np.array([[[[255, 128, 0]]]], np.uint8)


@pytest.mark.parametrize(
  'rule,expected',
  [
    ('unit', [1.0, 128 / 127.5 - 1, -1.0]),
    ('share', [1.0, 128 / 255, 0.0]),
    ('bgr', [0.0, 128.0, 255.0]),
    ('caffe', [0 - 104.00699, 128 - 116.66877, 255 - 122.67892]),
    ('hha', [0 - 132.431, 128 - 94.076, 255 - 118.477]),
    ('detectron', [0 - 102.9801, 128 - 115.9465, 255 - 122.7717]),
    ('imagenet', [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225]),
  ],
)
def test_rules(rule, expected):
  np.testing.assert_allclose(preprocess.preprocess(PIXEL, rule)[0, 0, 0], expected, rtol=1e-6, atol=1e-6)


def test_unknown_rule_names_the_known():
  with pytest.raises(ValueError, match='unit, share, imagenet, caffe, detectron, hha, bgr'):
    preprocess.preprocess(PIXEL, 'rgb')
