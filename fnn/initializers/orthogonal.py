"""Orthogonal kernels: maps that keep lengths."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import random
from fnn.dtypes import accumulation_dtype
from fnn.initializers.constants import middle
from fnn.initializers.initializer import fans, needs_key, on_device


def orthogonal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """A random orthogonal matrix: it keeps the length of what it maps, however often (Saxe, 2014).

    The axes before the last are taken as one; of a matrix that is not square, the shorter rows or
    columns are orthonormal. Drawn uniformly: the Q of a normal matrix, with the signs of R's diagonal.

    Raises:
      ValueError: the shape has fewer than two axes, or there is no key.
    """
    del groups  # each group's kernel is a part of one orthogonal matrix
    fans(shape)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    shape_of_q = (max(rows, columns), min(rows, columns))
    drawn = random.normal(needs_key(key), shape_of_q, accumulation_dtype(dtype))
    # On the host if that can be: a decomposition of every new shape would be a compilation each.
    numpy: Any = jnp if isinstance(drawn, jax.core.Tracer) else np
    q, r = numpy.linalg.qr(numpy.asarray(drawn))
    q = numpy.where(numpy.diagonal(r)[None] < 0, -q, q)
    w = (q if rows >= columns else q.T).reshape(shape)
    return w.astype(dtype) if isinstance(w, jax.core.Tracer) else on_device(w, dtype)


def delta_orthogonal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """A convolution that keeps lengths: a random orthogonal matrix on the pixel itself, 0 around it.

    With stride 1 and padding "SAME" or around, ``‖y‖ = ‖x‖`` for every image, at any depth. Each group
    has an orthogonal matrix of its own. Source: Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington
    (2018).

    Raises:
      ValueError: a group has more inputs than outputs, which nothing keeps the length of; the shape has
        fewer than two axes; or there is no key.
    """
    fans(shape)
    inputs, outputs = shape[-2], shape[-1] // groups
    if inputs > outputs:
        raise ValueError(
            "delta_orthogonal: expected at least as many outputs as inputs, since fewer cannot keep "
            f"lengths, got {inputs} inputs and {outputs} outputs in a kernel of shape {shape} with "
            f"{groups} groups; orthogonal takes any shape"
        )
    key = needs_key(key)
    keys = [key] if groups == 1 else [random.child_key(key, str(g)) for g in range(groups)]
    blocks = [orthogonal(k, (inputs, outputs), dtype) for k in keys]
    if isinstance(blocks[0], jax.core.Tracer):
        return jnp.zeros(shape, dtype).at[middle(shape)].set(jnp.concatenate(blocks, axis=-1))
    w = np.zeros(shape, dtype)
    w[middle(shape)] = np.concatenate([np.asarray(block) for block in blocks], axis=-1)
    return on_device(w, dtype)
