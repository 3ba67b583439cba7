"""The vocabulary every room shares: array types, the void label, the name of the device axis."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
  Array = Any  # the two convert everywhere; told apart by a static checker they give noise and no finding
else:
  Array = jax.Array | np.ndarray
Config = Any  # an ml_collections.ConfigDict: configs/base.py names its keys, its lock checks them at run time
Key = jax.Array  # a typed key, jax.random.key(...)
# image uint8 [b h w 3], labels uint8 [b h w], valid bool [b], index int32 [b], maybe weight float32 [b h w]
Batch = dict[str, Any]
Sums = dict[str, Any]  # name -> (sum, count), or an array that adds up (a confusion matrix)
Params = Any  # a pytree of arrays
Dtype = Any  # jnp.float32, jnp.bfloat16, ...

# Void after the reader: pixels that no loss, gradient or metric may see.
IGNORE_LABEL = 255

# The device axis of every pmapped step; psum over it reaches all devices of all processes.
AXIS = 'batch'
