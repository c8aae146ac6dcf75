"""Which dtype parameters have, and which one sums are taken in."""

from typing import Any

import jax
import jax.numpy as jnp


def parameter_dtype(x: jax.Array | jax.ShapeDtypeStruct) -> Any:
    """The dtype of the parameters of a layer whose input is `x`: its own, if that is a real float.

    Raises:
      TypeError: x is of integers, which have no direction to learn in.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"expected x of a floating dtype, got {x.dtype}; convert it before")
    return x.dtype


def accumulation_dtype(dtype: Any) -> Any:
    """The dtype that sums over many elements are taken in: float32 for bfloat16 and float16."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)
