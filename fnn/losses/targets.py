"""Targets and predictions looked at before they are used: dtypes, shapes, and values if they are known.

Values are known outside of `jit`; a target that means nothing then raises, naming the first. Inside,
where nothing can be looked at, `poisoned` turns such an example's loss and gradient into NaN, which
`train.step` stops at; the gradient of an example whose weight is 0 stays 0. No target is ever taken for
another one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import label_dtype
from fnn.layer import Array, PyTree


def as_prediction(name: str, prediction: Any, what: str = "prediction") -> Array:
    """The prediction as a jax array.

    Raises:
      ValueError: it is no array, or of no floating dtype.
    """
    array = _made(name, f"floating {what}", prediction, jnp.asarray)
    # Complex numbers pass: they are how the checker's complex step finds a derivative.
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        raise ValueError(f"{name}: expected floating {what}, got {array.dtype}")
    return array


def as_labels(
    name: str, target: Any, shape: tuple[int, ...], classes: int, ignore: int | None = None
) -> Array:
    """Integer labels in int32 at least, so that the number of classes fits in.

    Raises:
      ValueError: they are of no integer dtype or of another shape; one is out of range.
    """

    def valid(labels: Any) -> Any:
        return is_label(labels, classes, ignore)

    return as_integers(name, target, shape, valid, f"labels in [0, {classes})")


def as_integers(
    name: str,
    target: Any,
    shape: tuple[int, ...],
    valid: Callable[[Any], Any] | None,
    wanted: str,
) -> Array:
    """Integers in int32 at least, of which those that are known are looked at with `valid`.

    Raises:
      ValueError: they are of no integer dtype or of another shape; one is not valid.
    """
    given = as_given(name, target)
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(f"{name}: expected integer targets, got {given.dtype}")
    _check_shape(name, "integer targets", given, shape)
    if valid is not None:
        # The values as they came: without x64, jax would cut an int64 to the 32 bits of another class.
        look(name, given, valid, wanted)
    labels = jnp.asarray(given)
    return labels.astype(label_dtype(labels.dtype))


def as_fractions(name: str, target: Any, shape: tuple[int, ...]) -> Array:
    """Numbers in [0, 1]: of a floating dtype, truth values, or the integers 0 and 1.

    Raises:
      ValueError: they are of another dtype or shape; one is outside [0, 1].
    """
    given = as_given(name, target)
    if jnp.issubdtype(given.dtype, jnp.complexfloating):
        raise ValueError(f"{name}: expected real targets in [0, 1], got {given.dtype}")
    _check_shape(name, "targets", given, shape)
    look(name, given, is_fraction, "targets in [0, 1]")
    return jnp.asarray(given)


def as_distribution(name: str, target: Any, shape: tuple[int, ...]) -> Array:
    """Probabilities over the last axis, which need not sum to 1.

    Raises:
      ValueError: they are of no floating dtype or of another shape; one is negative or not finite.
    """
    given = as_numbers(name, target, shape)
    look(name, given, is_mass, "finite probabilities >= 0")
    return jnp.asarray(given)


def as_numbers(name: str, target: Any, shape: tuple[int, ...]) -> Array:
    """Any numbers of a floating dtype.

    Raises:
      ValueError: they are of another dtype or shape.
    """
    given = as_given(name, target)
    if not jnp.issubdtype(given.dtype, jnp.floating):
        raise ValueError(f"{name}: expected floating targets, got {given.dtype}")
    _check_shape(name, "floating targets", given, shape)
    return jnp.asarray(given)


def no_target(name: str, target: PyTree) -> None:
    """Refuse what a loss without targets would not look at.

    Raises:
      ValueError: the target has a leaf.
    """
    if jax.tree.leaves(target):
        raise ValueError(
            f"{name}: expected no target, since all is in the prediction, got "
            f"{jax.tree.map(np.shape, target)}; give () in its place"
        )


def check_ignored(name: str, ignore: Any) -> None:
    """Refuse what no label is equal to.

    Raises:
      ValueError: it is neither None nor an int that int32 holds.
    """
    if ignore is None:
        return
    whole = isinstance(ignore, int | np.integer) and not isinstance(ignore, bool)
    if not whole or not -(2**31) <= ignore < 2**31:
        raise ValueError(f"{name}: expected an int32 label to ignore, or None, got {ignore!r}")


def is_label(labels: Any, classes: int, ignore: int | None = None) -> Any:
    """Which labels are a class, or the one that is ignored."""
    valid = (labels >= 0) & (labels < classes)
    return valid if ignore is None else valid | (labels == ignore)


def labels_that_count(classes: int, ignore: int | None = None) -> np.ndarray:
    """Every class but the one that is ignored."""
    labels = np.arange(classes)
    return labels if ignore is None else labels[labels != ignore]


def is_fraction(target: Any) -> Any:
    """Which numbers are in [0, 1]."""
    return (target >= 0) & (target <= 1)


def is_mass(target: Any) -> Any:
    """Which numbers are finite and not negative."""
    return (target >= 0) & (target < np.inf)


def mass_of(target: Array, dtype: Any) -> Array:
    """Probabilities in this dtype, NaN where they mean nothing, without a pass of its own."""
    return jnp.where(is_mass(target), target.astype(dtype), jnp.nan)


def poisoned(valid: Array, x: Array) -> Array:
    """`x` with NaN where the target means nothing, instead of training on something else."""
    return jnp.where(valid, x, jnp.nan)


def poisoned_cotangent(valid: Array, g: Array) -> Array:
    """dL/dloss with NaN where the target means nothing, but for examples that do not count.

    An example whose weight is 0, such as padding, has a g of 0; its target may be anything.
    """
    return jnp.where(valid | (g == 0), g, jnp.nan)


def look(name: str, values: Any, valid: Callable[[Any], Any], wanted: str) -> None:
    """Refuse values that mean nothing, if they can be looked at.

    Raises:
      ValueError: naming what was wanted, the first value that is not, and where.
    """
    if isinstance(values, jax.core.Tracer):
        return
    with jax.ensure_compile_time_eval():  # the target may be a constant of a traced function
        known = np.asarray(values)
        bad = np.argwhere(~np.asarray(valid(known), bool))
    if bad.size:
        where = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name}: expected {wanted}, got {known[where]} at example {where}")


def as_given(name: str, target: Any, wanted: str = "numbers as targets") -> Any:
    """The target as it came, before jax makes its dtype narrower.

    Raises:
      ValueError: it is no array of numbers.
    """
    if isinstance(target, jax.Array):
        return target
    given = _made(name, wanted, target, np.asarray)
    if given.dtype.kind in "OSUMm":  # objects, texts, times
        raise ValueError(f"{name}: expected {wanted}, got {type(target).__name__}")
    return given


def _made(name: str, wanted: str, x: Any, make: Callable[[Any], Any]) -> Any:
    """The array that `make` makes of x.

    Raises:
      ValueError: it makes none, of a text, of rows that differ in length or of too large a number.
    """
    try:
        return make(x)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: expected {wanted}, got {type(x).__name__}: {error}") from error


def _check_shape(name: str, what: str, given: Any, shape: tuple[int, ...]) -> None:
    if given.shape != shape:
        raise ValueError(f"{name}: expected {what} of shape {shape}, got {given.shape}")
