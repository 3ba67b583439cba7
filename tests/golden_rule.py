"""Weights, inputs and comparison for the golden fixtures. NumPy only.

This file came with the fixtures in tests/goldens; only its layout was changed.

A golden stores no weights. Every tensor of the reference's state_dict is a row
[name, shape, kind, scale]; x = default_rng(crc32(name)).standard_normal(shape)
as float32, and the value is

    norm_scale  1 + scale * x        norm_var  1 + scale * |x|
    prelu       0.25 + scale * x     any other kind  scale * x

Layouts are torch's: conv OI(D)HW, deconv (transposed conv) IO(D)HW,
linear (out, in); activations are NC(D)HW.
"""

import json
import zlib

import numpy as np


def load(path):
  with open(path) as f:
    return json.load(f)


def normal(key, shape):
  rng = np.random.default_rng(zlib.crc32(key.encode()))
  return rng.standard_normal(tuple(shape)).astype(np.float32)


def tensor(name, shape, kind, scale):
  x, s = normal(name, shape), np.float32(scale)
  if kind == 'norm_scale':
    return np.float32(1) + s * x
  if kind == 'norm_var':
    return np.float32(1) + s * np.abs(x)
  if kind == 'prelu':
    return np.float32(0.25) + s * x
  return s * x


def state_dict(golden):
  """{name: array} for every tensor of the reference model."""
  return {row[0]: tensor(*row) for row in golden['tensors']}


def inputs(golden):
  """{name: array}; an entry may carry explicit `values` instead of a key."""
  out = {}
  for name, e in golden['input'].items():
    if 'values' in e:
      out[name] = np.asarray(e['values'], e['dtype']).reshape(e['shape'])
    else:
      out[name] = normal(e['key'], e['shape']) * np.float32(e.get('scale', 1))
  return out


def compare(golden, array, rtol=1e-4, atol=1e-4, output='out', layout='NCHW', outliers=0):
  """Check one output (or tap). atol is in units of that output's std.

  layout "NHWC"/"NDHWC": `array` is channels-last and is transposed first.
  outliers: how many samples may miss the tolerance; for nets that unpool by
  argmax indices, where a near tie may fall the other way.
  Returns a dict with `ok` and what was measured.
  """
  want = {**golden.get('taps', {}), **golden['output']}[output]
  got = np.asarray(array)
  if layout.endswith('C') and got.ndim > 2:
    got = np.moveaxis(got, -1, 1)
  res = {'ok': False, 'output': output, 'shape': list(got.shape)}
  if list(got.shape) != want['shape']:
    return {**res, 'error': f'shape, want {want["shape"]}'}
  idx, val = (np.asarray(c) for c in zip(*want['samples'], strict=True))
  err = np.abs(got.reshape(-1)[idx].astype(np.float64) - val)
  tol = atol * want['std'] + rtol * np.abs(val)
  worst = int(np.argmax(err - tol))
  g = got.astype(np.float64)
  stats = {k: abs(float(getattr(g, k)()) - want[k]) for k in ('mean', 'std')}
  missed = int(np.sum(~(err <= tol)))
  slack = (atol + rtol) * (10 if outliers else 1)
  ok = missed <= outliers and all(v <= slack * (want['std'] + abs(want['mean'])) for v in stats.values())
  return {
    **res,
    'ok': ok,
    'missed': missed,
    'max_abs': float(err.max()),
    'max_abs_over_std': float(err.max() / max(want['std'], 1e-30)),
    'worst': [int(idx[worst]), float(got.reshape(-1)[idx[worst]]), float(val[worst])],
    'stat_diff': stats,
  }
