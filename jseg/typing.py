"""The vocabulary every room shares: array types, the void label, the name of the device axis."""

from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
Key = jax.Array  # a typed key, jax.random.key(...)
Batch = dict[str, Any]  # image uint8 [b h w 3], labels uint8 [b h w], valid bool [b], index int32 [b]
Sums = dict[str, Any]  # name -> (sum, count), or an array that adds up (a confusion matrix)
Params = Any  # a pytree of arrays
Dtype = Any  # jnp.float32, jnp.bfloat16, ...

# Void after the reader: pixels that no loss, gradient or metric may see.
IGNORE_LABEL = 255

# The device axis of every pmapped step; psum over it reaches all devices of all processes.
AXIS = 'batch'
