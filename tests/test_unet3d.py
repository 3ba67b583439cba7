"""Single facts of the 3-D U-Net; what every network must do is in test_models.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.models import unet, unet3d

PORT = {'padding': 'same', 'upsample': 'nearest', 'conv_bias': False, 'norm': 'bn'}


def image(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def shapes_of(model, shape):
  function = functools.partial(model.init_with_output, train=False)
  return jax.eval_shape(function, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def random_variables(model, x):
  rng = np.random.default_rng(1)

  def value(path, leaf):
    z = rng.standard_normal(leaf.shape).astype(np.float32)
    return (
      0.5 + np.abs(z) if path[-1].key == 'var' else z * np.float32(np.sqrt(2 * leaf.shape[-1] / leaf.size))
    )

  return jax.tree.map_with_path(value, shapes_of(model, x.shape)[1])


def logits_of(model, variables, x):
  apply = jax.jit(
    functools.partial(model.apply, train=False), compiler_options={'xla_backend_optimization_level': 0}
  )
  return np.asarray(apply(variables, x)[0])


def test_the_published_count_is_that_of_the_convolutions():
  # Section 2: "19069955 parameters in total". Biases are in it, but for those of the up-convolutions.
  _, variables = shapes_of(unet3d.Model(num_classes=3), (1, 4, 4, 4, 3))
  counts = {'convolutions': 0, 'normalisation': 0}
  for path, leaf in jax.tree.leaves_with_path(variables['params']):
    counts['normalisation' if 'norm' in jax.tree_util.keystr(path) else 'convolutions'] += leaf.size
  assert counts == {'convolutions': 19_069_955, 'normalisation': 4_672}


def test_sizes_and_features_are_those_of_the_figure():
  # Figure 2: 132x132x116 voxels in three channels -> 44x44x28.
  (logits, out), _ = shapes_of(unet3d.Model(num_classes=3, border='none'), (1, 132, 132, 116, 3))
  assert logits.shape == (1, 44, 44, 28, 3)
  assert {name: a.shape[1:] for name, a in out.items()} == {
    'down0': (128, 128, 112, 64), 'down1': (60, 60, 52, 128), 'down2': (26, 26, 22, 256),
    'down3': (9, 9, 7, 512), 'up2': (14, 14, 10, 256), 'up1': (24, 24, 16, 128), 'up0': (44, 44, 28, 64),
  }  # fmt: skip


@pytest.mark.parametrize('depth', [1, 2, 3])
def test_other_depths_channels_and_classes(depth):
  model = unet3d.Model(num_classes=7, depth=depth, width=1)
  (logits, out), variables = shapes_of(model, (2, 3, 10, 7, 5))
  assert logits.shape == (2, 3, 10, 7, 7)
  assert len(out) == 2 * depth - 1
  assert variables['params']['down0']['conv1']['kernel'].shape == (3, 3, 3, 5, 1)


def test_border_is_mirroring_and_cutting():
  whole = unet3d.Model(num_classes=2, width=1, depth=2, norm='bn')
  bare = whole.clone(border='none')
  x = image(2, 3, 6, 5, 1)
  padded = x
  for axis, side in enumerate(x.shape[1:4], start=1):
    covered, margin = unet.tile(side, 2)
    pads = [(0, 0)] * 5
    pads[axis] = (margin, margin + covered - side)
    padded = np.pad(padded, pads, mode='reflect')
  variables = random_variables(whole, x)
  logits = logits_of(whole, variables, x)
  assert logits.shape == (2, 3, 6, 5, 2)
  np.testing.assert_allclose(logits, logits_of(bare, variables, padded)[:, :3, :6, :5], atol=1e-5)


def test_by_default_each_volume_is_normalised_by_itself():
  model = unet3d.Model(num_classes=2, width=1, depth=1)
  x = image(2, 4, 3, 5, 1) * np.asarray([1, 5], np.float32).reshape(2, 1, 1, 1, 1)
  variables = random_variables(model, x)
  together = logits_of(model, variables, x)
  alone = np.concatenate([logits_of(model, variables, x[i : i + 1]) for i in range(2)])
  np.testing.assert_allclose(together, alone, atol=1e-5)
  running = logits_of(model.clone(norm='bn'), variables, x)
  assert np.abs(running - together).max() > 0.1


def test_turning_the_volume_and_the_kernels_turns_the_logits():
  # No axis is taken for another: on a volume of three different sides.
  model = unet3d.Model(num_classes=2, width=1, depth=2, padding='same', norm='bn')
  x = image(1, 4, 7, 5, 1)
  variables = random_variables(model, x)
  turned = jax.tree.map(lambda a: a.transpose(2, 0, 1, 3, 4) if a.ndim == 5 else a, variables)
  logits = logits_of(model, turned, x.transpose(0, 3, 1, 2, 4))
  np.testing.assert_allclose(logits, logits_of(model, variables, x).transpose(0, 3, 1, 2, 4), atol=1e-5)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'padding': 'full'}, 'there are: valid, same'),
    ({'border': 'zero'}, 'there are: mirror, none'),
    ({'upsample': 'linear'}, 'there are: deconv, nearest'),
    ({'upsample': 'nearest'}, "set padding='same'"),
    ({'norm': 'instance'}, 'there are: bn, frozen, fixed, batch, gn, none'),
  ],
)
def test_unknown_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    shapes_of(unet3d.Model(num_classes=2, width=1, **options), (1, 8, 8, 8, 1))


def test_an_image_is_no_volume():
  with pytest.raises(
    ValueError, match=r'takes volumes \[b d h w c\], this image has the shape \[1, 64, 64, 3\]'
  ):
    shapes_of(unet3d.Model(num_classes=2), (1, 64, 64, 3))


def test_nearest_goes_to_the_size_of_the_skip():
  model = unet3d.Model(num_classes=2, width=1, depth=2, **PORT)
  (logits, out), _ = shapes_of(model, (2, 5, 7, 2, 1))
  assert logits.shape == (2, 5, 7, 2, 2)
  assert out['down1'].shape == (2, 2, 3, 1, 4)
