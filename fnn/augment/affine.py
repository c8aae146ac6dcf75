"""Random affine maps as values, which are multiplied into one matrix before the image is sampled once.

A `Transform` draws the matrix (2, 3) of `resample`: where in the image a pixel of the output looks, in
rows and columns from the middle. So what turns the picture by θ draws the rotation by -θ.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.augment.augmentation import arrays_of, called, example_keys, named_parts, rebuilt, uniforms
from fnn.augment.checks import check_fill, checked_probability
from fnn.augment.resample import Edge, Interpolation, Sampling, checked_sampling, sampled
from fnn.batch import Augmentation, Batch
from fnn.layer import Array
from fnn.random import name_hash

UNITS = 4  # uniform numbers that a transform is given
_Arguments = tuple[Array, Array, Array]

_STILL = np.eye(2, 3, dtype=np.float32)
_RARE = np.uint32(0x9E3779B9)
_SHIFT = np.array([[0, 0, 1]], np.float32)
_ROW_BY_COLUMN = np.array([[0, 1, 0], [0, 0, 0]], np.float32)
_COLUMN_BY_ROW = np.array([[0, 0, 0], [1, 0, 0]], np.float32)


class Transform(NamedTuple):
    """A random affine map of images: a matrix of `UNITS` uniform numbers."""

    name: str
    matrix: Callable[[Array], Array]  # (UNITS,) in [0, 1) -> (2, 3), float32


def affine(
    *unnamed: Transform,
    size: tuple[int, int] | None = None,
    interpolation: Interpolation = "bilinear",
    edge: Edge = "constant",
    fill: float = 0.0,
    **named: Transform,
) -> Augmentation:
    """Several random transforms, the first one first, as a single resampling of each image.

        augment.affine(augment.flip(), augment.rotate(15), augment.scale(0.9, 1.1), edge="reflect")

    Each transform draws with a key made of its name (an unnamed one is `rotate_1`), so that to insert one
    does not change the draws of the others. Bytes stay bytes: they are interpolated in float32 and
    rounded. Through floating images, gradients go back to the pixels. With another `size` the middle
    stays the middle: a smaller one crops, a larger one pads.

    Args:
      unnamed: transforms.
      size: (h, w) of the images that come out; their own by default.
      interpolation: "bilinear" or "nearest".
      edge: outside of the image: "constant", "edge" or "reflect", see `resample`.
      fill: the constant.
      named: transforms under names.

    Raises:
      TypeError: what is given is no transform.
      ValueError: an option that is none; two transforms of one name; a fill that x's integers cannot
        hold.
    """
    sampling = checked_sampling("affine", size, interpolation, edge, fill)
    parts = named_parts("affine", unnamed, named, _kind)

    def augmented(key: Array, batch: Batch) -> Batch:
        x, *others = arrays_of("affine", batch)
        check_fill("affine", fill, x)
        keys = example_keys(key, x.shape[0])
        matrices = jax.vmap(lambda key: drawn_matrix(key, parts))(keys)
        return rebuilt(_sampled_once(key, x, matrices, sampling), others)

    return called(augmented, "affine")


def _sampled_once(key: Array, x: Array, matrices: Array, sampling: Sampling) -> Array:
    """Every image under its matrix, as an array that is made before anything reads it.

    XLA:CPU fuses gathers into what reads them and then makes a pixel anew for each reader: a flip after a
    crop took fifteen times as long as all three. It does not look into a loop, whose one round it must
    not foresee.
    """

    def whole(x: Array, matrices: Array) -> Array:
        return jax.vmap(lambda image, matrix: sampled(image, matrix, sampling))(x, matrices)

    @jax.custom_jvp
    def looped(rounds: Array, x: Array, matrices: Array) -> Array:
        y = jax.eval_shape(whole, x, matrices)
        return jax.lax.fori_loop(
            0, rounds, lambda _, y: whole(x, matrices), jnp.zeros(y.shape, y.dtype)
        )

    @looped.defjvp
    def looped_jvp(primals: _Arguments, tangents: _Arguments) -> tuple[Array, Array]:
        # Gradients do not go back through a loop of rounds that are not known.
        return looped(*primals), jax.jvp(whole, primals[1:], tangents[1:])[1]

    def in_a_loop(x: Array, matrices: Array) -> Array:
        # One key of 2³² makes a second round, of the same result; all devices know the key.
        words = jax.random.key_data(key).reshape(-1)
        return looped(1 + (words[0] ^ words[-1] == _RARE).astype(jnp.int32), x, matrices)

    return jax.lax.platform_dependent(x, matrices, cpu=in_a_loop, default=whole)


def drawn_matrix(key: Array, parts: Mapping[str, Transform]) -> Array:
    """(2, 3): the product of the transforms, each drawn with a key of its name, the first one first."""
    matrix = jnp.asarray(_STILL)
    if not parts:
        return matrix
    # The keys of all in one call, and the draws in another: each call is a loop that XLA compiles.
    names = jnp.asarray([name_hash(name) for name in parts], jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, names)
    units = jax.vmap(lambda key: uniforms(key, UNITS))(keys)
    for unit, part in zip(units, parts.values(), strict=True):
        matrix = product(matrix, part.matrix(unit))
    return matrix


def product(first: Array, second: Array) -> Array:
    """The matrix (2, 3) of the map that applies `second` to a place, and then `first`."""
    # Written out: a matmul would be rounded to bfloat16 or TF32 on some accelerators.
    turned = first[:, :1] * second[:1] + first[:, 1:2] * second[1:]
    return turned + first * _SHIFT


def flip(horizontal: float = 0.5, vertical: float = 0.0) -> Transform:
    """Left and right change places with one probability, top and bottom with another.

    Raises:
      ValueError: a probability is not in [0, 1].
    """
    probabilities = [checked_probability("flip", p) for p in (vertical, horizontal)]

    def matrix(unit: Array) -> Array:
        flipped = unit[:2] < jnp.asarray(probabilities, jnp.float32)
        return _diagonal(jnp.where(flipped, -1.0, 1.0).astype(jnp.float32))

    return Transform("flip", matrix)


def scale(low: float, high: float) -> Transform:
    """The picture becomes s times as large, s uniform in [low, high], alike in both directions.

    Raises:
      ValueError: not 0 < low <= high.
    """
    _check_factors("scale", low, high)

    def matrix(unit: Array) -> Array:
        factor = _between(low, high, unit[0])
        return _diagonal(jnp.broadcast_to(1 / factor, (2,)))

    return Transform("scale", matrix)


def stretch(low: float, high: float) -> Transform:
    """The height becomes s times as large and the width t times, s and t uniform in [low, high].

    Raises:
      ValueError: not 0 < low <= high.
    """
    _check_factors("stretch", low, high)
    return Transform("stretch", lambda unit: _diagonal(1 / _between(low, high, unit[:2])))


def translate(rows: float, columns: float | None = None) -> Transform:
    """The picture moves by up to so many pixels, up or down and left or right, uniformly.

    Args:
      rows: the largest shift along the height, in pixels, which need not be whole.
      columns: the largest along the width; as `rows` by default.

    Raises:
      ValueError: a shift is negative or not finite.
    """
    most = _sizes("translate", rows, rows if columns is None else columns)

    def matrix(unit: Array) -> Array:
        shift = _between(-1.0, 1.0, unit[:2]) * jnp.asarray(most, jnp.float32)
        return -shift[:, None] * _SHIFT + _STILL

    return Transform("translate", matrix)


def rotate(low: float, high: float | None = None) -> Transform:
    """The picture turns about its middle, counter-clockwise, by degrees uniform in [low, high].

    One number d stands for [-d, d]. Multiples of 90° are exact.

    Raises:
      ValueError: not finite, or not low <= high.
    """
    ends = (-low, low) if high is None else (low, high)
    if not -float("inf") < ends[0] <= ends[1] < float("inf"):
        raise ValueError(f"rotate: expected finite degrees with low <= high, got {ends}")

    def matrix(unit: Array) -> Array:
        cosine, sine = _cosine_and_sine(_between(*ends, unit[0]))
        return cosine * _STILL + sine * (_ROW_BY_COLUMN - _COLUMN_BY_ROW)

    return Transform("rotate", matrix)


def shear(columns: float, rows: float = 0.0) -> Transform:
    """Rows slide along each other: a pixel h rows below the middle moves h · k columns to the right.

    k is uniform in [-columns, columns]; it is the tangent of the angle at which a vertical line then
    stands. After it, columns slide by as many rows as `rows` says, in the same way.

    Raises:
      ValueError: a factor is negative or not finite.
    """
    most = _sizes("shear", columns, rows)

    def matrix(unit: Array) -> Array:
        along_columns, along_rows = _between(-1.0, 1.0, unit[:2]) * jnp.asarray(most, jnp.float32)
        return product(
            _STILL - along_columns * _COLUMN_BY_ROW, _STILL - along_rows * _ROW_BY_COLUMN
        )

    return Transform("shear", matrix)


def _diagonal(factors: Array) -> Array:
    """The matrix with these two factors and no shift."""
    return factors[:, None] * _STILL


def _between(low: float, high: float, unit: Array) -> Array:
    """Numbers from low to high for those from 0 to 1; `low` itself where the two are equal."""
    return low + (high - low) * unit


def _cosine_and_sine(degrees: Array) -> tuple[Array, Array]:
    """Exact at multiples of 90°: what is left of the nearest one goes through cos and sin."""
    turns = jnp.round(degrees / 90)
    rest = (degrees - 90 * turns) * (jnp.pi / 180)
    c, s = jnp.cos(rest), jnp.sin(rest)
    quadrant = jnp.mod(turns, 4).astype(jnp.int32)
    cosine = jnp.select([quadrant == 0, quadrant == 1, quadrant == 2], [c, -s, -c], s)
    sine = jnp.select([quadrant == 0, quadrant == 1, quadrant == 2], [s, c, -s], -c)
    return cosine, sine


def _check_factors(name: str, low: float, high: float) -> None:
    if not 0 < low <= high < float("inf"):
        raise ValueError(f"{name}: expected factors with 0 < low <= high, got {low} and {high}")


def _sizes(name: str, *sizes: float) -> list[float]:
    if not all(0 <= size < float("inf") for size in sizes):
        raise ValueError(f"{name}: expected finite sizes of at least 0, got {sizes}")
    return [float(size) for size in sizes]


def _kind(container: str, part: Transform) -> str:
    if not isinstance(part, Transform):
        raise TypeError(f"{container}: expected transforms such as rotate(15), got {part!r:.80}")
    return part.name
