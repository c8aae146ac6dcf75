"""Which dtypes a layer takes, computes in and gives back.

- Parameters take the dtype of the x that they were made for.
- Where x and parameters differ later (bfloat16 activations over float32 parameters), a layer computes in
  the wider of the two. y and dx are of x's dtype, each dparam of its parameter's, whatever dy's is.
- Sums over many elements are taken in float32 at least.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp


class Typed(Protocol):
    """An array, or a `jax.ShapeDtypeStruct`."""

    @property
    def dtype(self) -> Any: ...


def parameter_dtype(x: Typed) -> Any:
    """The dtype of the parameters of a layer whose input is `x`: its own, if that is a real float.

    Float64 is float32 where jax has no float64 (without `jax_enable_x64`), as for every array.

    Raises:
      TypeError: x is of integers, which have no direction to learn in.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"expected x of a floating dtype, got {x.dtype}; convert it before")
    return jax.dtypes.canonicalize_dtype(x.dtype)


def check_inexact(x: Typed) -> None:
    """Refuse an input without a direction; complex ones pass, by which derivatives can be checked.

    Raises:
      TypeError: x is of integers or of truth values.
    """
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"expected x of a floating dtype, got {x.dtype}; convert it before")


def computing_dtype(x: Typed, *params: Typed | None) -> Any:
    """The dtype that x and parameters meet in: the narrowest that holds all; None counts for nothing.

    It is asked for in words because jax's own promotion may be set to strict.
    """
    dtype = x.dtype
    for p in params:
        if p is not None and p.dtype != dtype:
            with jax.numpy_dtype_promotion("standard"):
                dtype = jnp.promote_types(dtype, p.dtype)
    return dtype


def accumulation_dtype(dtype: Any) -> Any:
    """The dtype that sums over many elements are taken in: float32 for bfloat16 and float16."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)


def label_dtype(dtype: Any) -> Any:
    """The dtype in which labels meet the numbers of classes: int32 for those that hold fewer."""
    return jnp.dtype(jnp.int32) if jnp.iinfo(dtype).bits < 32 else jnp.dtype(dtype)
