"""Examples mixed with each other: mixup of their pixels, cutmix of their regions, and of their labels.

The partner of an example is the next one in the batch, and of the last one the first: batches are
shuffled, and devices that share a batch then pass on one example each.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.augment.augmentation import arrays_of, below, called, example_keys, uniforms
from fnn.augment.checks import check_floating, checked_number, checked_probability
from fnn.augment.erase import box
from fnn.batch import Augmentation, Batch
from fnn.dtypes import accumulation_dtype, label_dtype
from fnn.layer import Array, PyTree
from fnn.losses.targets import as_labels, as_numbers, is_label


class _Pairs(NamedTuple):
    """A batch with the shares that its examples are to keep."""

    x: Array  # (N, H, W, C)
    target: Array  # (N, classes)
    weights: Array | None  # (N,)
    units: Array  # (N, 2) uniform numbers, to draw a place from
    share: Array  # (N,) float32, 1 where an example is to be left alone


def mixup(classes: int, alpha: float = 0.2, *, probability: float = 1.0) -> Augmentation:
    """Each image becomes λ x + (1 - λ) x', with x' the next in the batch, and so does its label.

    λ ~ Beta(alpha, alpha), one for each example. Labels (N,) become probabilities (N, classes), which
    `softmax_cross_entropy` takes: those of λ y + (1 - λ) y'. With weights w, the mixed example weighs
    ``λ w + (1 - λ) w'``, and its label is ``(λ w y + (1 - λ) w' y') / (λ w + (1 - λ) w')``: each label
    counts as much as its weight says. An example of weight 0 (padding) is neither mixed nor mixed in.

    Shapes: x (N, H, W, C), floating; target (N,) integers in [0, classes), or (N, classes) floats; the
    target that comes out has x's dtype, but at least float32; weights that are no floats become float32.
    Source: Zhang, Cisse, Dauphin, Lopez-Paz (2018), section 2; their program draws one λ for a batch.

    Args:
      classes: how many there are.
      alpha: at least 0; with 0, λ is 1.
      probability: of an example to be mixed at all.

    Raises:
      TypeError: x is of integers.
      ValueError: an option out of range; a label out of range, naming the first. Inside `jit`, where
        values cannot be looked at, the probabilities of such a label are NaN.
    """
    settings = _checked("mixup", classes, alpha, probability)

    def mixed(key: Array, batch: Batch) -> Batch:
        check_floating("mixup", arrays_of("mixup", batch)[0])
        pairs = _pairs("mixup", *settings, key, batch)
        wide = accumulation_dtype(pairs.x.dtype)
        x = _between(pairs.share.astype(wide)[:, None, None, None], pairs.x.astype(wide))
        return _blended(pairs, x.astype(pairs.x.dtype), pairs.share)

    return called(mixed, "mixup")


def cutmix(classes: int, alpha: float = 1.0, *, probability: float = 1.0) -> Augmentation:
    """A rectangle of each image is that of the next image in the batch, and the label mixes alike.

    λ ~ Beta(alpha, alpha), one for each example; the rectangle has ``⌊H √(1 - λ)⌋`` rows and
    ``⌊W √(1 - λ)⌋`` columns about a pixel drawn uniformly, and what of it lies outside is cut off. λ then
    becomes the share of the pixels that an example keeps, and labels and weights mix as in `mixup`. Any
    dtype of x; pixels are exact. Source: Yun, Han, Oh, Chun, Choe, Yoo (2019).

    Args:
      classes: how many there are.
      alpha: at least 0; with 0, λ is 1.
      probability: of an example to be mixed at all.

    Raises:
      ValueError: as `mixup`.
    """
    settings = _checked("cutmix", classes, alpha, probability)

    def mixed(key: Array, batch: Batch) -> Batch:
        pairs = _pairs("cutmix", *settings, key, batch)
        height, width = pairs.x.shape[1:3]

        def region(unit: Array, share: Array) -> Array:
            """(H, W, 1): which pixels are the other one's."""
            whole = jnp.asarray([height, width], jnp.int32)
            middle = below(unit, whole)
            sides = jnp.floor(whole.astype(jnp.float32) * jnp.sqrt(1 - share)).astype(jnp.int32)
            start = middle - sides // 2
            return box((height, width), start, start + sides)

        others = jax.vmap(region)(pairs.units, pairs.share)
        x = jnp.where(others, _next(pairs.x), pairs.x)
        area = others.sum(axis=(1, 2, 3), dtype=jnp.int32).astype(jnp.float32)
        # 1 to the last bit where nothing is covered, and not below 0 where all is: XLA's quotient of two
        # equal numbers need not be 1.
        return _blended(pairs, x, jnp.maximum(1 - area / max(height * width, 1), 0))

    return called(mixed, "cutmix")


def _checked(name: str, classes: int, alpha: float, probability: float) -> tuple[int, float, float]:
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"{name}: expected a number of classes of at least 1, got {classes!r}")
    checked_number(name, "alpha", alpha, 0.0, 1e6)
    return classes, alpha, checked_probability(name, probability)


def _pairs(
    name: str, classes: int, alpha: float, probability: float, key: Array, batch: Batch
) -> _Pairs:
    """What both kinds of mixing begin with."""
    x, target, *rest = arrays_of(name, batch)
    dtype = accumulation_dtype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.float32
    target = _probabilities(name, batch[1], x.shape[0], classes, dtype)
    weights = rest[0] if rest else None

    unit = jax.vmap(lambda key: uniforms(key, 5))(example_keys(key, x.shape[0]))
    share = jnp.where(unit[:, 0] < probability, beta_of(unit[:, 1], unit[:, 2], alpha), 1.0)
    if weights is not None:
        if not jnp.issubdtype(weights.dtype, jnp.floating):
            weights = weights.astype(jnp.float32)
        share = jnp.where((weights == 0) | (_next(weights) == 0), 1.0, share)
    return _Pairs(x, target, weights, unit[:, 3:], share)


def beta_of(u: Array, v: Array, alpha: float) -> Array:
    """Draws of Beta(alpha, alpha) from two uniform numbers each; 1 for alpha = 0.

    Without rejections, and so without a loop: T = √((u^(-1/α) - 1) 2α) cos(πv) has Student's t with 2α
    degrees of freedom (Bailey, 1994), and (1 + T / √(2α + T²)) / 2 is Beta(α, α). With t = T² / 2α:
    """
    if alpha == 0:
        return jnp.ones_like(u)
    q = ((1 - u) ** (-1 / alpha) - 1) * jnp.cos(jnp.pi * v) ** 2
    magnitude = 1 / jnp.sqrt(1 + 1 / q)
    return (1 + jnp.where(v < 0.5, magnitude, -magnitude)) / 2


def _blended(pairs: _Pairs, x: Array, share: Array) -> Batch:
    """The batch of mixed images with its labels and weights, of which this share is an example's own."""
    target, weights = pairs.target, pairs.weights
    share = share.astype(target.dtype)
    if weights is None:
        return x, _between(share[:, None], target)
    own = share * weights.astype(target.dtype)
    other = (1 - share) * _next(weights).astype(target.dtype)
    total = own + other
    # Where there is no other part, exactly 1, which a quotient need not be; nor is 0 / 0 asked for.
    of_label = jnp.where(other == 0, 1, own / jnp.where(total == 0, 1, total))[:, None]
    return x, _between(of_label, target), total.astype(weights.dtype)


def _between(share: Array, array: Array) -> Array:
    """Each entry and the next one, mixed: where the share is 1 the entry itself, next to NaN too."""
    return jnp.where(share == 1, array, share * array + (1 - share) * _next(array))


def _next(array: Array) -> Array:
    """The entry of the next example, for each."""
    return jnp.roll(array, -1, axis=0)


def _probabilities(name: str, target: PyTree, count: int, classes: int, dtype: Any) -> Array:
    """(N, classes) of `dtype`: of labels, the one-hot, and NaN of a label that is none."""
    given = jnp.asarray(target) if isinstance(target, list) else target
    if not hasattr(given, "dtype"):
        raise ValueError(
            f"{name}: expected targets of shape {(count,)} or {(count, classes)}, got {target!r:.80}"
        )
    if jnp.issubdtype(given.dtype, jnp.floating):
        return as_numbers(name, given, (count, classes)).astype(dtype)
    labels = as_labels(name, given, (count,), classes)
    labels = labels.astype(label_dtype(labels.dtype))[:, None]
    one_hot = (labels == jnp.arange(classes, dtype=labels.dtype)[None, :]).astype(dtype)
    return jnp.where(is_label(labels, classes), one_hot, jnp.nan)
