"""Losses."""

import numpy as np

from fnn import losses
from fnn.layer import PyTree

from .rows import LossRow

Generator = np.random.Generator


def _labels(rng: Generator) -> np.ndarray:
    return rng.integers(0, 4, 6, np.int32)


def _distribution(rng: Generator) -> np.ndarray:
    """Rows that are not normalized: the gradient must know their sum."""
    return rng.uniform(0, 1, (6, 4)).astype(np.float32)


def _probabilities(rng: Generator) -> np.ndarray:
    """Far enough from 0 that a checker's step stays within (0, 1)."""
    return rng.uniform(0.1, 0.9, (6, 4)).astype(np.float32)


def _no_frames(target: losses.CTCTarget) -> losses.CTCTarget:
    """Nothing heard: of the empty text alone is it what was said."""
    return target._replace(input_lengths=np.zeros_like(target.input_lengths))


def _all_ignored(labels: np.ndarray) -> np.ndarray:
    return np.full_like(labels, -1)


def _numbers(*shape: int):
    return lambda rng: rng.normal(size=shape).astype(np.float32)


def _fractions(rng: Generator) -> np.ndarray:
    """Certain and uncertain ones."""
    return rng.choice(np.asarray([0, 0.3, 1], np.float32), (6, 2))


def _none(rng: Generator) -> PyTree:
    del rng  # all is in the prediction
    return ()


def _scores(rng: Generator) -> np.ndarray:
    """Two examples of six without a violation."""
    scores = 2 * _numbers(6, 4)(rng)
    scores[[0, 3], [2, 1]] += 9
    return scores


def _one_without_direction(rng: Generator) -> np.ndarray:
    x = _numbers(6, 3)(rng)
    x[2] = 0
    return x


def _factors(rng: Generator) -> losses.Projected:
    """Always the same numbers: on their signs it depends which infinities meet."""
    del rng
    x, w, b = (_numbers(*shape)(np.random.default_rng(1)) for shape in ((6, 3), (3, 5), (5,)))
    x[:, 1] = np.abs(x[:, 1])  # the logit of class 2 is ±∞, and no NaN, where w[1, 2] and b[2] are
    return losses.Projected(x, w, b)


def _utterances(rng: Generator) -> losses.CTCTarget:
    """Repeated labels, padding in both arrays, and an empty text."""
    del rng  # what is hard about it is chosen
    return losses.CTCTarget(
        labels=np.asarray([[1, 1], [1, 2], [-5, 9]], np.int32),
        label_lengths=np.asarray([2, 2, 0], np.int32),
        input_lengths=np.asarray([4, 3, 2], np.int32),
    )


# Rows of zeros do not count.
_NOTHING_COUNTS = {"all masked": np.zeros_like}
_NO_PROBABILITY = "what is no probability poisons its gradient; autodiff of a select cannot say so"
_LIMIT = "by hand the limit; autodiff multiplies 0 by infinity"
_OF_INFINITE_WEIGHTS = {
    "inf": "a logit of ∞: by hand the others' softmax is 0; autodiff multiplies it by the sum, ∞",
    "-inf": "a label that cannot be: by hand dx is its weights, ∞; autodiff adds 0 · ∞ of the softmax",
}
_POISONED = "a NaN score makes the example's whole gradient NaN; autodiff of a maximum forgets it"
_NO_PROBABILITIES = dict.fromkeys(("inf", "-inf", "nan", "ties", "mean 1e4"), _NO_PROBABILITY)

LOSSES = {
    "softmax_cross_entropy, labels": LossRow(losses.softmax_cross_entropy, (6, 4), _labels),
    "softmax_cross_entropy, distribution": LossRow(
        losses.softmax_cross_entropy, (6, 4), _distribution, hard_targets=_NOTHING_COUNTS
    ),
    "softmax_cross_entropy of a sequence": LossRow(
        losses.softmax_cross_entropy, (3, 2, 4), lambda rng: rng.integers(0, 4, (3, 2), np.int32)
    ),
    "softmax_cross_entropy, smoothed and weighted": LossRow(
        lambda: losses.softmax_cross_entropy(smoothing=0.2, class_weights=(0.5, 2, 1, 3)),
        (6, 4),
        _labels,
    ),
    "softmax_cross_entropy, weighted, one ignored": LossRow(
        lambda: losses.softmax_cross_entropy(class_weights=(0.5, 2, 1, 3), ignore=-1),
        (6, 4),
        lambda rng: np.asarray([2, -1, 0, 3, -1, 1], np.int32),
        hard_targets={"all masked": _all_ignored},
    ),
    "cross_entropy, labels": LossRow(
        losses.cross_entropy, _probabilities, _labels, hard=_NO_PROBABILITIES
    ),
    "cross_entropy, distribution": LossRow(
        losses.cross_entropy,
        _probabilities,
        _distribution,
        hard=_NO_PROBABILITIES,
        hard_targets=_NOTHING_COUNTS,
    ),
    "kl_divergence": LossRow(
        losses.kl_divergence, (6, 4), _distribution, hard_targets=_NOTHING_COUNTS
    ),
    "binary_logistic": LossRow(
        lambda: losses.binary_logistic(positive_weight=3.0), (6, 2), _fractions
    ),
    "binary_focal": LossRow(
        lambda: losses.binary_focal(alpha=0.25),
        (6, 2),
        _fractions,
        hard={"inf": _LIMIT, "-inf": _LIMIT},
    ),
    "softmax_focal": LossRow(
        losses.softmax_focal,
        lambda rng: _numbers(8, 3)(rng) + np.eye(8, 3, dtype=np.float32),
        lambda rng: np.asarray([0, 1, 0, 2, 0, 2, 1, 1], np.int32),
        hard={"-inf": _LIMIT},
    ),
    **{
        f"hinge, {form}{' squared' * squared}": LossRow(
            lambda form=form, squared=squared: losses.hinge(form, squared=squared),
            _scores,
            lambda rng: np.asarray([2, 0, 3, 1, 0, 2], np.int32),
            hard={} if squared else {"nan": _POISONED},
        )
        for form in ("sum", "max")
        for squared in (False, True)
    },
    **{
        f"squared_error, {reduction}": LossRow(
            lambda reduction=reduction: losses.squared_error(reduction),
            (6, 2, 2),
            _numbers(6, 2, 2),
        )
        for reduction in ("sum", "half", "mean")
    },
    "linear_softmax_cross_entropy": LossRow(
        lambda: losses.linear_softmax_cross_entropy(chunk=2),
        _factors,
        lambda rng: np.asarray([2, 4, 0, 3, 1, 1], np.int32),
        hard=_OF_INFINITE_WEIGHTS,
    ),
    "linear_softmax_cross_entropy, one ignored": LossRow(
        lambda: losses.linear_softmax_cross_entropy(chunk=2, ignore=-1),
        _factors,
        lambda rng: np.asarray([2, 4, 0, -1, -1, 1], np.int32),
        hard=_OF_INFINITE_WEIGHTS,
        hard_targets={"all masked": _all_ignored},
    ),
    "ctc": LossRow(
        losses.ctc,
        (3, 4, 3),
        _utterances,
        hard_targets={
            "no time": _no_frames,
            "all masked": _no_frames,
            "no labels": lambda target: target._replace(
                label_lengths=np.zeros_like(target.label_lengths)
            ),
        },
    ),
    "cosine_distance": LossRow(losses.cosine_distance, _one_without_direction, _numbers(6, 3)),
    **{
        f"triplet, {distance}": LossRow(
            lambda distance=distance: losses.triplet(0.5, distance=distance),
            lambda rng: tuple(_numbers(6, 3)(rng) for _ in range(3)),
            _none,
        )
        for distance in ("squared", "euclidean")
    },
    "nt_xent": LossRow(
        losses.nt_xent, lambda rng: (_numbers(4, 3)(rng), _numbers(4, 3)(rng)), _none
    ),
    "absolute_error": LossRow(lambda: losses.absolute_error("mean"), (6, 2, 2), _numbers(6, 2, 2)),
    "huber": LossRow(lambda: losses.huber(0.7), (6, 2, 2), _numbers(6, 2, 2)),
    "log_cosh": LossRow(losses.log_cosh, (6, 2, 2), _numbers(6, 2, 2)),
}
