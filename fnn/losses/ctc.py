"""Connectionist temporal classification: the loss of a sequence whose alignment to its labels is unknown."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, Static, as_arrays
from fnn.losses.cross_entropy import log_sum_exp
from fnn.losses.loss import Loss
from fnn.losses.targets import as_labels, as_prediction, look, poisoned


class CTCTarget(NamedTuple):
    """What is said, and how much of the padded arrays counts."""

    labels: Array  # (N, L) of integers in [0, C), not the blank; what is beyond a length is not looked at
    label_lengths: Array  # (N,) of integers in [0, L]
    input_lengths: Array  # (N,) of integers in [0, T]


class CTCCache(NamedTuple):
    """What the two recursions share; backward runs the second one."""

    logits: Array  # (N, T, C)
    normalizers: Array  # (N, T, 1), log Σ exp(logits), at least float32
    alphas: Array  # (T, N, S), log probabilities of all beginnings; S = 2 L + 1
    log_likelihood: Array  # (N,)
    target: CTCTarget
    valid: Array  # (N,) bool


class _Paths(NamedTuple):
    """The labels with a blank around each, ε a ε b ε, and which steps a path may take."""

    symbols: Array  # (N, S)
    jumps: Array  # (N, S) bool, whether the state may be reached from the one before the last
    ends: Array  # (N, S) bool, the states in which a path may end


def ctc(*, blank: int = 0, infeasible: float = np.inf) -> Loss:
    """-log of the summed probability of all alignments of the labels with the frames.

    An alignment has one symbol a frame: a label, held for any number of frames, or the blank; equal
    neighbours need a blank between them. With y_t = softmax(logits_t), and the labels l of length S = 2 L + 1
    with a blank before, between and after them, forward runs over the frames, in logarithms:

        α_t(s) = y_t(l_s) · (α_{t-1}(s) + α_{t-1}(s-1) + [l_s is no blank and not l_{s-2}] α_{t-1}(s-2))
        loss = -log(α_T(S) + α_T(S-1))

    Backward runs over the frames in reverse, with β_t(s) the probability of what comes after frame t, and
    g = dL/dloss; the share of the paths that are in state s at frame t is what the softmax ought to be:

        β_t(s) = Σ_{s′ that follows s} β_{t+1}(s′) · y_{t+1}(l_{s′})
        dlogits_tk = g · (y_t(k) - Σ_{s: l_s = k} α_t(s) β_t(s) / exp(-loss))

    Shapes: logits (N, T, C); target ``CTCTarget(labels (N, L), label_lengths (N,), input_lengths (N,))``;
    losses (N,), at least float32. Cache: the logits, their normalizers, α and the target. Frames beyond an
    input's length have a gradient of 0. Where no alignment is possible (fewer frames than labels and the
    blanks between equal ones, or logits of -∞ in the way) the loss is ∞, and the gradient 0, since no small
    step changes it. Source: Graves, Fernández, Gomez, Schmidhuber (2006).

    Args:
      blank: the class of the blank.
      infeasible: what such an example costs; ∞ stops `train.step`, 0 leaves it out in silence.

    Raises:
      ValueError: shapes that do not fit; a blank, a label or a length out of range, or a blank among the
        labels. Inside `jit` such an example's loss and gradient are NaN.
    """
    name = "ctc"
    if blank < 0:
        raise ValueError(f"{name}: expected blank >= 0, got {blank}")

    def forward(logits: PyTree, target: PyTree) -> tuple[Array, CTCCache]:
        logits = as_prediction(name, logits, "logits")
        target, valid = _check(name, logits, target, blank)
        wide = logits.astype(accumulation_dtype(logits.dtype))
        normalizers = log_sum_exp(wide)
        paths = _paths(target, blank)
        emissions = _emissions(wide - normalizers, paths)  # (T, N, S)
        first = jax.lax.broadcasted_iota(jnp.int32, emissions.shape[1:], 1) < 2
        before = jnp.where(first & (jnp.roll(first, 1, 1) | paths.ends | first), 0.0, -jnp.inf)
        del before
        frames = jnp.arange(logits.shape[1], dtype=jnp.int32)
        # Before the first frame a path waits in front of the first blank: one step leads to it or past it.
        start = jnp.full(emissions.shape[1:], -jnp.inf, wide.dtype)

        def body(alpha: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
            frame, emission = step
            reached = _log_add(
                alpha, _moved(alpha, 1), jnp.where(paths.jumps, _moved(alpha, 2), -jnp.inf)
            )
            reached = jnp.where((frame == 0) & first, 0, reached)
            now = (frame < target.input_lengths)[:, None]
            alpha = jnp.where(now, reached + emission, alpha)
            return alpha, alpha

        last, alphas = jax.lax.scan(body, start, (frames, emissions))
        return last, alphas

    return Loss(name, forward, None)
