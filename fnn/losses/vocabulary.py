"""Softmax cross-entropy of a linear map whose output, the logits, is never held as a whole."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array, PyTree, as_arrays
from fnn.losses.loss import Loss
from fnn.losses.projection import Projected
from fnn.losses.targets import (
    as_labels,
    as_prediction,
    check_ignored,
    is_label,
    labels_that_count,
    poisoned,
    poisoned_cotangent,
)


class VocabularyCache(NamedTuple):
    """The factors, and one number an example; every block of logits is computed again."""

    factors: Projected  # x (…, D), w (D, V), b (V,) or None
    normalizer: Array  # (N,), log Σ exp(logits), at least float32; N is all axes of x but the last
    target: Array  # (…) of integers, at least int32


def linear_softmax_cross_entropy(chunk: int = 512, *, ignore: int | None = None) -> Loss:
    """-log softmax(x w + b)[label] in blocks of `chunk` classes, with memory for one block.

    The prediction is ``Projected(x, w, b)``, which the layer `projection` gives; so the whole fits any
    network, `value_and_grad` and `train.step` as every other loss does:

        net = chain(layers.linear(64), layers.relu(), head=losses.projection(50_257))
        step = train.step(net, losses.linear_softmax_cross_entropy(), optimizers.adam(1e-3))

    Forward, over the blocks B of classes, with a running maximum by which no exponential overflows:

        Z = log Σ_B Σ_{c in B} exp(x w_c + b_c)      loss = Z - (x w_label + b_label)

    Backward, with g = dL/dloss, block by block from its logits computed again:

        dlogits_B = g · (exp(x w_B + b_B - Z) - [label in B])
        dw_B = xᵀ dlogits_B      db_B = Σ_n dlogits_B      dx = Σ_B dlogits_B w_Bᵀ

    That is a fourth product beside autodiff's three; a block that stays in the processor's cache more
    than pays for it. Shapes: x (…, D), w (D, V), b (V,) or None; target (…) of integers in [0, V);
    losses (…), at least float32. Cache: x, w, b, Z and the target. A b of -∞ is a class that cannot be.
    Source: Bridle (1990); in blocks: Hsu et al. (2024), Wijmans et al. (2025).

    Args:
      chunk: classes a block, at most V; N · chunk numbers are held. On a GPU larger ones pay: 8192.
      ignore: a label, such as that of padding, whose loss and gradient are 0, whatever its x; in range
        or not. The cache has zeros for such an x.

    Raises:
      ValueError: no class a block; a prediction of other parts or shapes; a label out of range. Inside
        `jit` such an example's loss and gradients are NaN, those of w and b wholly.
    """
    name = "linear_softmax_cross_entropy"
    if chunk < 1:
        raise ValueError(f"{name}: expected a chunk of one class at least, got {chunk}")
    check_ignored(name, ignore)

    def forward(factors: PyTree, target: PyTree) -> tuple[Array, VocabularyCache]:
        factors = _check(name, factors)
        shape, classes = factors.x.shape[:-1], factors.w.shape[1]
        target = as_labels(name, target, shape, classes, ignore)
        if ignore is not None:  # such an x takes no part: 0 · NaN is NaN, in the product for dw too
            factors = factors._replace(x=jnp.where((target == ignore)[..., None], 0, factors.x))
        rows, wide = _rows(factors), accumulation_dtype(computing_dtype(*factors))

        def body(carry: tuple[Array, Array], block: tuple[Array, Array]) -> tuple[Any, None]:
            top, total = carry
            start, fresh = block
            logits, classes_here = _logits(rows, start, size, wide)
            logits = jnp.where(classes_here >= fresh, logits, -jnp.inf)
            # The shift cancels, so it has no derivative: telling autodiff so keeps it exact and cheap.
            higher = jnp.maximum(top, jax.lax.stop_gradient(logits.max(axis=-1)))
            shift = jnp.where(jnp.isfinite(higher), higher, 0)  # -∞ - -∞ would be NaN
            total = total * jnp.exp(top - shift) + jnp.exp(logits - shift[:, None]).sum(axis=-1)
            return (higher, total), None

        size = min(chunk, classes)
        count = rows.x.shape[0]
        start = (jnp.full(count, -jnp.inf, wide), jnp.zeros(count, wide))
        (top, total), _ = jax.lax.scan(body, start, _blocks(classes, size))
        normalizer = jnp.log(total) + jnp.where(jnp.isfinite(top), top, 0)
        labels = jnp.clip(target.reshape(-1), 0, classes - 1)
        own = (rows.x.astype(wide) * jnp.take(rows.w, labels, axis=1).T.astype(wide)).sum(axis=-1)
        if rows.b is not None:
            own = own + jnp.take(rows.b, labels).astype(wide)
        losses = poisoned(is_label(target, classes, ignore), (normalizer - own).reshape(shape))
        if ignore is not None:
            losses = jnp.where(target == ignore, 0, losses)
        return losses, VocabularyCache(factors, normalizer, target)

    def backward(cache: VocabularyCache, dlosses: Array) -> Projected:
        factors, normalizer, target = cache
        classes, rows, wide = factors.w.shape[1], _rows(factors), normalizer.dtype
        g = as_arrays(dlosses).astype(wide)
        g = poisoned_cotangent(is_label(target, classes, ignore), g)
        g, labels = g.reshape(-1, 1), target.reshape(-1, 1)

        def body(carry: Projected, block: tuple[Array, Array]) -> tuple[Projected, None]:
            start, fresh = block
            logits, classes_here = _logits(rows, start, size, wide)
            softmax = jnp.exp(logits - normalizer[:, None])
            hit = (classes_here.astype(labels.dtype) == labels).astype(wide)
            dlogits = (g * (softmax - hit)).astype(computing_dtype(*factors))
            if ignore is not None:
                dlogits = jnp.where(labels == ignore, 0, dlogits)
            w = jax.lax.dynamic_slice_in_dim(rows.w, start, size, axis=1)
            dw = _product(rows.x.T, dlogits, wide).astype(carry.w.dtype)
            dx = carry.x + _product(jnp.where(classes_here >= fresh, dlogits, 0), w.T, wide)
            dw = jax.lax.dynamic_update_slice_in_dim(carry.w, dw, start, axis=1)
            db = carry.b
            if db is not None:
                here = dlogits.astype(wide).sum(axis=0).astype(db.dtype)
                db = jax.lax.dynamic_update_slice_in_dim(db, here, start, axis=0)
            return Projected(dx, dw, db), None

        size = min(chunk, classes)
        zero = jax.tree.map(jnp.zeros_like, rows)._replace(x=jnp.zeros(rows.x.shape, wide))
        (dx, dw, db), _ = jax.lax.scan(body, zero, _blocks(classes, size))
        if ignore is not None:
            dx = jnp.where(labels == ignore, 0, dx)
        return Projected(dx.reshape(factors.x.shape).astype(factors.x.dtype), dw, db)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        labels = labels_that_count(classes, ignore)
        return Projected(jnp.zeros((labels.size, 1)), jnp.zeros((1, classes)), None), labels

    return Loss(name, forward, backward, chance)


def _blocks(classes: int, size: int) -> tuple[Array, Array]:
    """Where each block starts, and its first class that no block before it had.

    The last block ends at the last class and so begins within the one before: all are of one size.
    """
    fresh = np.arange(0, classes, size, dtype=np.int32)
    return jnp.asarray(np.minimum(fresh, classes - size)), jnp.asarray(fresh)


def _logits(rows: Projected, start: Array, size: int, wide: Any) -> tuple[Array, Array]:
    """One block of logits (N, size), and which classes (1, size) they are of."""
    w = jax.lax.dynamic_slice_in_dim(rows.w, start, size, axis=1)
    logits = _product(rows.x, w, wide)
    if rows.b is not None:
        b = jax.lax.dynamic_slice_in_dim(rows.b, start, size, axis=0)
        logits = logits + jnp.broadcast_to(b.astype(wide), logits.shape)
    return logits, start + jax.lax.broadcasted_iota(start.dtype, (1, size), 1)


def _product(a: Array, b: Array, wide: Any) -> Array:
    """a b, accumulated and given in the wide dtype; of two dtypes the wider one is computed in."""
    dtype = computing_dtype(a, b)
    return jnp.matmul(a.astype(dtype), b.astype(dtype), preferred_element_type=wide)


def _rows(factors: Projected) -> Projected:
    """The same with all axes of x but the last as one."""
    return factors._replace(x=factors.x.reshape(-1, factors.x.shape[-1]))


def _check(name: str, factors: Any) -> Projected:
    if not isinstance(factors, Projected):
        raise ValueError(
            f"{name}: expected a prediction Projected(x, w, b), got {type(factors).__name__}; end the "
            "network with losses.projection(classes), or take softmax_cross_entropy for logits"
        )
    x, w = as_prediction(name, factors.x, "x"), as_prediction(name, factors.w, "w")
    b = None if factors.b is None else as_prediction(name, factors.b, "b")
    fits = x.ndim >= 1 and w.ndim == 2 and x.shape[-1] == w.shape[0] and w.shape[1] >= 1
    if not fits or (b is not None and b.shape != w.shape[1:]):
        shapes = (x.shape, w.shape, None if b is None else b.shape)
        raise ValueError(f"{name}: expected x (…, D), w (D, V) and b (V,) or None, got {shapes}")
    return Projected(x, w, b)
