"""Connectionist temporal classification: a sequence whose alignment to its labels is unknown."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, as_arrays
from fnn.losses.cross_entropy import log_sum_exp
from fnn.losses.loss import Loss
from fnn.losses.targets import as_integers, as_prediction, poisoned, poisoned_cotangent


class CTCTarget(NamedTuple):
    """What is said, and how much of the padded arrays counts."""

    labels: Array  # (N, L) of integers in [0, C), none the blank; beyond a length they are not looked at
    label_lengths: Array  # (N,) of integers in [0, L]
    input_lengths: Array  # (N,) of integers in [0, T]


class CTCCache(NamedTuple):
    """What the two recursions share; backward runs the second one."""

    logits: Array  # (N, T, C)
    normalizers: Array  # (N, T, 1), log Σ exp(logits), at least float32
    alphas: Array  # (T, N, S), logarithms, of each frame less their largest
    log_likelihood: Array  # (N,)
    target: CTCTarget
    valid: Array  # (N,) bool


class _Paths(NamedTuple):
    """The states of a path, which are the labels with a blank before, between and after them."""

    symbols: Array  # (N, S)
    jumps: Array  # (N, S) bool, whether a state may be reached from the last but one
    ends: Array  # (N, S) bool, the states in which a path may end
    frames: Array  # (N, T) bool, those that count


def ctc(*, blank: int = 0, infeasible: float = np.inf) -> Loss:
    """-log of the summed probability of all alignments of the labels with the frames.

    An alignment has one symbol a frame: a label, held for any number of frames, or the blank; equal
    neighbours need a blank between them. With y_t = softmax(logits_t) and the S = 2 L + 1 states l of
    blanks and labels in turn, and α_0 = 1 in the first state. Forward, in logarithms, frame by frame:

        α_t(s) = y_t(l_s) · (α_{t-1}(s) + α_{t-1}(s-1) + [l_s is no blank and not l_{s-2}] · α_{t-1}(s-2))
        loss = -log(α_T(S) + α_T(S-1))

    Backward runs in reverse, with β_t(s) the probability of what comes after frame t, and g = dL/dloss;
    the share of the paths that are in a state at a frame is what the softmax ought to be:

        β_t(s) = Σ_{s′ after s} β_{t+1}(s′) · y_{t+1}(l_{s′})        β_T = 1 in the last two states
        dlogits_t(k) = g · (y_t(k) - Σ_{s: l_s = k} α_t(s) · β_t(s) / exp(-loss))

    Shapes: logits (N, T, C); target ``CTCTarget(labels (N, L), label_lengths (N,), input_lengths
    (N,))``; losses (N,), at least float32. Cache: the logits, their normalizers, α and the target.
    Frames beyond an input's length do not count, whatever they hold. Where no alignment is possible
    (fewer frames than labels and the blanks between equal ones, or logits of -∞ in the way) the loss is
    ∞ and the gradient 0, as no small step changes it. Source: Graves, Fernández, Gomez, Schmidhuber
    (2006).

    Args:
      blank: the class of the blank.
      infeasible: what such an example costs: ∞ stops `train.step`; 0 leaves it out, without a word.

    Raises:
      ValueError: shapes that do not fit; a blank, a label or a length out of range, or a blank among the
        labels. Inside `jit` such an example's loss and gradient are NaN.
    """
    if blank < 0:
        raise ValueError(f"ctc: expected blank >= 0, got {blank}")

    def forward(logits: PyTree, target: PyTree) -> tuple[Array, CTCCache]:
        logits = as_prediction("ctc", logits, "logits")
        target, valid = _check(logits, target, blank)
        paths = _paths(target, blank, logits.shape[1])
        wide = logits.astype(accumulation_dtype(logits.dtype))
        # A select here keeps a NaN beyond the length from autodiff's 0 · NaN.
        wide = jnp.where(paths.frames[..., None], wide, 0)
        normalizers = log_sum_exp(wide)

        def body(alpha: Array, step: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            emission, counts = step
            jumped = jnp.where(paths.jumps, _shifted(alpha, 2), -jnp.inf)
            reached = _log_sum(jnp.stack([alpha, _shifted(alpha, 1), jumped]), axis=0)
            # Kept near 0, with what is taken off added up apart: at -2000 float32 has no fraction left.
            scale = jnp.where(counts, _largest(emission + reached), 0)
            alpha = jnp.where(counts[:, None], emission + reached - scale[:, None], alpha)
            return alpha, (alpha, scale)

        # Before the first frame a path is in the first blank: one step stays there or goes to a label.
        states = jax.lax.broadcasted_iota(jnp.int32, paths.symbols.shape, 1)
        first = jnp.where(states == 0, 0, -jnp.inf).astype(wide.dtype)
        steps = (_emissions(wide, normalizers, paths), paths.frames.T)
        last, (alphas, scales) = jax.lax.scan(body, first, steps)
        likelihood = _log_sum(jnp.where(paths.ends, last, -jnp.inf), axis=1) + scales.sum(axis=0)
        losses = jnp.where(likelihood == -jnp.inf, infeasible, -likelihood)
        cache = CTCCache(logits, normalizers, alphas, likelihood, target, valid)
        return poisoned(valid, losses), cache

    def backward(cache: CTCCache, dlosses: Array) -> Array:
        logits, normalizers, alphas, likelihood, target, valid = cache
        paths = _paths(target, blank, logits.shape[1])
        wide = logits.astype(normalizers.dtype)
        possible = likelihood != -jnp.inf

        def body(beta: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            alpha, emission, counts = step
            share = jnp.exp(alpha + beta - _largest(alpha + beta)[:, None])
            every = share.sum(axis=1, keepdims=True)  # 0 only where there is no path
            share = share / jnp.where(every == 0, 1, every)
            after = beta + emission
            jumped = _shifted(jnp.where(paths.jumps, after, -jnp.inf), -2)
            left = _log_sum(jnp.stack([after, _shifted(after, -1), jumped]), axis=0)
            return jnp.where(counts[:, None], left - _largest(left)[:, None], beta), share

        last = jnp.where(paths.ends, 0, -jnp.inf).astype(wide.dtype)
        steps = (alphas, _emissions(wide, normalizers, paths), paths.frames.T)
        _, shares = jax.lax.scan(body, last, steps, reverse=True)
        softmax = jnp.exp(wide - normalizers)
        difference = softmax - _by_class(shares, paths, softmax.shape[-1], blank)
        g = poisoned_cotangent(valid, as_arrays(dlosses).astype(wide.dtype))
        g = jnp.where(possible | ~valid, g, 0)[:, None, None]
        # Selects, since the frames that do not count may hold a NaN.
        counts = paths.frames[..., None] & possible[:, None, None]
        dlogits = jnp.where(counts, g * difference, g * 0)
        return dlogits.astype(logits.dtype)

    return Loss("ctc", forward, backward)


def _paths(target: CTCTarget, blank: int, frames: int) -> _Paths:
    labels, label_lengths, input_lengths = target
    place = jax.lax.broadcasted_iota(jnp.int32, labels.shape, 1)
    labels = jnp.where(place < label_lengths[:, None], labels, blank)
    count, length = labels.shape
    symbols = jnp.full((count, 2 * length + 1), blank, labels.dtype).at[:, 1::2].set(labels)
    state = jax.lax.broadcasted_iota(jnp.int32, symbols.shape, 1)
    # Two places back is the label before, or a blank; the first label has none before it.
    jumps = (symbols != blank) & (symbols != jnp.roll(symbols, 2, axis=1)) & (state >= 2)
    final = 2 * label_lengths[:, None]
    ends = (state == final) | (state == final - 1)
    time = jax.lax.broadcasted_iota(jnp.int32, (count, frames), 1)
    return _Paths(symbols, jumps, ends, time < input_lengths[:, None])


def _emissions(wide: Array, normalizers: Array, paths: _Paths) -> Array:
    """log y_t of every state's symbol, (T, N, S)."""
    picked = jnp.take_along_axis(wide, paths.symbols[:, None, :], axis=2, mode="clip")
    return jnp.moveaxis(picked - normalizers, 1, 0)


def _by_class(shares: Array, paths: _Paths, classes: int, blank: int) -> Array:
    """The shares (T, N, S) of the states, added up by their symbols: (N, T, C)."""
    labels = paths.symbols[:, 1::2, None]
    one_hot = labels == jax.lax.broadcasted_iota(labels.dtype, (*labels.shape[:2], classes), 2)
    said = jnp.einsum(
        "tnl,nlc->ntc",
        shares[..., 1::2],
        one_hot.astype(shares.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )
    silent = jnp.moveaxis(shares[..., ::2].sum(axis=-1), 0, 1)[..., None]
    is_blank = jax.lax.broadcasted_iota(jnp.int32, said.shape, 2) == blank
    return said + jnp.where(is_blank, silent, 0)


def _shifted(x: Array, by: int) -> Array:
    """The states moved up by so many places, with -∞ moving in."""
    pad = (max(by, 0), max(-by, 0))
    padded = jnp.pad(x, ((0, 0), pad), constant_values=-np.inf)
    return padded[:, : x.shape[1]] if by > 0 else padded[:, -by:]


def _largest(x: Array) -> Array:
    """The largest of each row, or 0 if it is not finite; it cancels, and so has no derivative."""
    top = jax.lax.stop_gradient(x.max(axis=1))
    return jnp.where(jnp.isfinite(top), top, 0)


def _log_sum(x: Array, axis: int) -> Array:
    """log Σ exp(x); -∞ for nothing but -∞, with a derivative of 0 in both modes."""
    top = jax.lax.stop_gradient(x.max(axis=axis, keepdims=True))
    shift = jnp.where(jnp.isfinite(top), top, 0)
    total = jnp.exp(x - shift).sum(axis=axis)
    none = total == 0
    return jnp.where(none, -jnp.inf, jnp.log(jnp.where(none, 1, total)) + shift.squeeze(axis))


def _check(logits: Array, target: Any, blank: int) -> tuple[CTCTarget, Array]:
    """The target as jax arrays, and which examples have one that means something."""
    if logits.ndim != 3:
        raise ValueError(f"ctc: expected logits of shape (N, T, C), got {logits.shape}")
    count, frames, classes = logits.shape
    if blank >= classes:
        raise ValueError(f"ctc: expected a blank in [0, {classes}), got {blank}")
    if not isinstance(target, tuple) or len(target) != 3 or np.ndim(target[0]) != 2:
        raise ValueError(
            "ctc: expected a target CTCTarget(labels (N, L), label_lengths (N,), input_lengths (N,)), "
            f"got {jax.tree.map(np.shape, target)}"
        )
    length = np.shape(target[0])[1]

    def fits(most: int) -> Any:
        return lambda n: (n >= 0) & (n <= most)

    def is_said(labels: Any, lengths: Any) -> Any:
        beyond = np.arange(length, dtype=lengths.dtype)[None] >= lengths[:, None]
        return beyond | ((labels >= 0) & (labels < classes) & (labels != blank))

    label_lengths = as_integers(
        "ctc", target[1], (count,), fits(length), f"label_lengths in [0, {length}]"
    )
    input_lengths = as_integers(
        "ctc", target[2], (count,), fits(frames), f"input_lengths in [0, {frames}]"
    )
    labels = as_integers(
        "ctc",
        target[0],
        (count, length),
        (lambda labels: is_said(labels, np.asarray(label_lengths)))
        if not isinstance(label_lengths, jax.core.Tracer)
        else None,
        f"labels in [0, {classes}) that are not the blank {blank}",
    )
    valid = is_said(labels, label_lengths).all(axis=1)
    valid = valid & fits(length)(label_lengths) & fits(frames)(input_lengths)
    target = CTCTarget(labels, label_lengths, input_lengths)
    return jax.tree.map(lambda a: a.astype(jnp.int32), target), valid
