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
    """The same settings whatever the user's, so that a check gives the same bits under all of them.

    - None that turns a result into an exception: a NaN is something to report, a key is used once a
      method, so `debug_nans`, `debug_infs`, `debug_key_reuse`, `check_tracer_leaks` and the guard on
      transfers are off, and keys of the older kind are allowed.
    - What was written for float32 constants has to run in float64, so promotion is the standard one.
    - `jit` compiles, also under `disable_jit`: compiled and eager passes are compared with each other.
    - What is drawn from a key is what jax draws by default: `threefry_partitionable`, and threefry
      for keys that a layer makes itself.

    The device is the user's choice (`jax.default_device`). All settings here and in `exact` are those
    of the thread, and are put back on leaving, also by an exception.
    """
    with (
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.debug_key_reuse(False),
        jax.check_tracer_leaks(False),
        jax.transfer_guard("allow"),
        jax.legacy_prng_key("allow"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.disable_jit(False),
        jax.threefry_partitionable(True),
        jax.default_prng_impl("threefry2x32"),
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
