"""How much of a bounded activation is on its flat ends, told from its output.

An element is saturated where the slope is below a twentieth of the largest slope there is:

    sigmoid       y (1 - y) < 0.05 / 4                    y outside of [0.0127, 0.9873]
    tanh          1 - y² < 0.05                           |y| > 0.975
    softsign      (1 - |y|)² < 0.05                       |y| > 0.776
    hard_sigmoid  slope 0                                 y at 0 or 1
    hard_tanh     slope 0                                 y at -1 or 1
    relu6         slope 0 at the upper end alone          y at 6; below 0 it is a rectifier
    softmax       y (1 - y) < 0.05 / 4 for the largest    one of a group above 0.9873

Of a softmax, groups are counted, not elements: as many as its outputs sum to.
"""

from collections.abc import Callable

import jax.numpy as jnp

from fnn.layer import Array

SHARE = 0.05  # of the largest slope

_TOP = (1 + (1 - SHARE) ** 0.5) / 2  # where y (1 - y) = SHARE / 4

# By the name of the layer up to a parenthesis: the elements that are on a flat end.
_FLAT: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda y: y * (1 - y) < SHARE / 4,
    "tanh": lambda y: 1 - y * y < SHARE,
    "softsign": lambda y: jnp.square(1 - jnp.abs(y)) < SHARE,
    "hard_sigmoid": lambda y: (y <= 0) | (y >= 1),
    "hard_tanh": lambda y: jnp.abs(y) >= 1,
    "relu6": lambda y: y >= 6,
    "softmax": lambda y: y > _TOP,
}


def is_bounded(name: str) -> bool:
    """Whether a layer of this name has flat ends that are known here."""
    return _kind(name) in _FLAT


def saturated(name: str, y: Array) -> tuple[Array, Array]:
    """(how many elements, or groups, are on a flat end, how many there are), for a bounded `name`.

    Elements that are not finite are on none.
    """
    flat = (_FLAT[_kind(name)](y) & jnp.isfinite(y)).sum(dtype=jnp.int32)
    if _kind(name) == "softmax":
        return flat.astype(jnp.float32), y.astype(jnp.float32).sum()
    return flat.astype(jnp.float32), jnp.asarray(y.size, jnp.float32)


def _kind(name: str) -> str:
    return name.partition("(")[0]
