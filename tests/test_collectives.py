"""Sums over devices: right on many, nothing at all on one."""

import jax
import numpy as np
import pytest

from jseg.ops import collectives


@pytest.mark.parametrize('devices', [1, 2, 8])
def test_sum_over_the_axis(devices):
  total = jax.pmap(lambda x: collectives.psum(x, 'batch'), 'batch', devices=jax.devices()[:devices])
  x = np.arange(devices * 3.0, dtype=np.float32).reshape(devices, 3)
  np.testing.assert_array_equal(total(x), np.broadcast_to(x.sum(0), x.shape))
  assert ('psum' in str(jax.make_jaxpr(total)(x))) == (devices > 1)


def test_no_axis_is_one_device():
  assert collectives.psum({'a': 2}, None) == {'a': 2}
