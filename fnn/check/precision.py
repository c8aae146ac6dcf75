"""Float64 and nothing else: the arithmetic that every check runs in, whatever the user's settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from fnn.layer import PyTree


@contextmanager
def exact() -> Iterator[None]:
    """Float64 and full matmul precision, under `standard_flags`."""
    with standard_flags(), jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


@contextmanager
def standard_flags() -> Iterator[None]:
    """None of the flags that turn a result into an exception, so that a check depends on none.

    A NaN is something to report, so `debug_nans` is off; what was written for float32 constants has to
    run in float64, so promotion is the standard one. All settings here and in `exact` are those of
    the thread, and are put back on leaving, also by an exception.
    """
    with (
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def is_real(leaf: Any) -> bool:
    """Whether a leaf has derivatives: a real floating dtype.

    Raises:
      TypeError: the leaf is complex, for which gradients have no one convention.
    """
    dtype = dtype_of(leaf)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(
            f"expected real leaves, got {dtype}; check a function of the real and imaginary parts"
        )
    return jnp.issubdtype(dtype, jnp.floating)


def dtype_of(leaf: Any) -> Any:
    """The dtype of an array or a ShapeDtypeStruct, and that which a Python number gets in jax."""
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def widen(tree: PyTree) -> PyTree:
    """The tree with its real leaves in float64; integers, booleans and keys as they are."""

    def leaf(value: Any) -> jax.Array:
        array = value if isinstance(value, jax.Array) else jnp.asarray(value)
        return array.astype(jnp.float64) if is_real(array) else array

    return jax.tree.map(leaf, tree)
