"""Losses, against the plain forwards of the field: `log_softmax` and take, and formulas as they stand."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import Costed, CostRow, LossCostRow
from fnn import losses
from fnn.layer import PyTree
from fnn.losses import CTCTarget, Projected

Generator = np.random.Generator


def _labels(prediction: PyTree, rng: Generator) -> np.ndarray:
    return rng.integers(0, prediction.shape[-1], prediction.shape[:-1], np.int32)


def _distribution(prediction: PyTree, rng: Generator) -> np.ndarray:
    p = rng.uniform(size=prediction.shape).astype(np.float32)
    return p / p.sum(axis=-1, keepdims=True)


def _binary(prediction: PyTree, rng: Generator) -> np.ndarray:
    return rng.integers(0, 2, prediction.shape).astype(np.float32)


def _numbers(prediction: PyTree, rng: Generator) -> np.ndarray:
    return rng.standard_normal(prediction.shape, np.float32)


def _none(prediction: PyTree, rng: Generator) -> tuple[()]:
    del prediction, rng  # all is in the prediction
    return ()


def _tuple(count: int, *shape: int) -> Callable[[Generator], PyTree]:
    return lambda rng: tuple(rng.standard_normal(shape, np.float32) for _ in range(count))


def _factors(n: int, d: int, v: int) -> Callable[[Generator], PyTree]:
    """Weights of the size that an initializer gives them."""
    return lambda rng: Projected(
        jnp.asarray(rng.standard_normal((n, d), np.float32)),
        jnp.asarray(rng.standard_normal((d, v), np.float32) * np.float32(d**-0.5)),
        jnp.zeros(v),
    )


def _probabilities(*shape: int) -> Callable[[Generator], PyTree]:
    return lambda rng: rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32) + 1e-6


def _words(prediction: Projected, rng: Generator) -> np.ndarray:
    return rng.integers(0, prediction.w.shape[1], prediction.x.shape[0], np.int32)


def _utterances(prediction: jax.Array, rng: Generator) -> CTCTarget:
    count, frames, classes = prediction.shape
    length = frames // 5
    return CTCTarget(
        jnp.asarray(rng.integers(1, classes, (count, length), np.int32)),
        jnp.full(count, length, jnp.int32),
        jnp.full(count, frames, jnp.int32),
    )


def _take(rows: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.take_along_axis(rows, labels[:, None], axis=-1)


def _log_softmax_and_take(prediction: jax.Array, labels: jax.Array) -> jax.Array:
    return -_take(jax.nn.log_softmax(prediction), labels)[:, 0]


def _smoothed(prediction: jax.Array, labels: jax.Array) -> jax.Array:
    classes = prediction.shape[-1]
    p = 0.9 * jax.nn.one_hot(labels, classes, dtype=prediction.dtype) + 0.1 / classes
    return -(p * jax.nn.log_softmax(prediction)).sum(axis=-1)


def _weighted(prediction: jax.Array, labels: jax.Array) -> jax.Array:
    weights = jnp.asarray(WEIGHTS, prediction.dtype)
    return weights[labels] * _log_softmax_and_take(prediction, labels)


def _ignoring(prediction: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.where(labels == 0, 0, _log_softmax_and_take(prediction, labels))


def _linear_then_log_softmax(prediction: Projected, labels: jax.Array) -> jax.Array:
    return _log_softmax_and_take(prediction.product(), labels)


def _composed(prediction: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.log(_take(prediction, labels))[:, 0]


def _divergence(prediction: jax.Array, p: jax.Array) -> jax.Array:
    return (jax.scipy.special.xlogy(p, p) - p * prediction).sum(axis=-1)


def _logistic(prediction: jax.Array, target: jax.Array) -> jax.Array:
    yes, no = jax.nn.log_sigmoid(prediction), jax.nn.log_sigmoid(-prediction)
    return -(target * yes + (1 - target) * no).sum(axis=-1)


def _focal(prediction: jax.Array, target: jax.Array) -> jax.Array:
    p = jax.nn.sigmoid(prediction)
    yes, no = jax.nn.log_sigmoid(prediction), jax.nn.log_sigmoid(-prediction)
    return -(target * (1 - p) ** 2 * yes + (1 - target) * p**2 * no).sum(axis=-1)


def _softmax_focal(prediction: jax.Array, labels: jax.Array) -> jax.Array:
    log_q = _take(jax.nn.log_softmax(prediction), labels)[:, 0]
    return -((1 - jnp.exp(log_q)) ** 2) * log_q


def _violations(prediction: jax.Array, labels: jax.Array) -> jax.Array:
    margins = jnp.maximum(0, prediction - _take(prediction, labels) + 1)
    return jnp.where(jax.nn.one_hot(labels, prediction.shape[-1], dtype=bool), 0, margins)


def _cosine(prediction: jax.Array, target: jax.Array) -> jax.Array:
    lengths = jnp.linalg.norm(prediction, axis=-1) * jnp.linalg.norm(target, axis=-1)
    return 1 - (prediction * target).sum(axis=-1) / lengths


def _triplet(prediction: PyTree, target: PyTree) -> jax.Array:
    a, p, n = prediction
    near, far = ((a - p) ** 2).sum(axis=-1), ((a - n) ** 2).sum(axis=-1)
    return jax.nn.relu(near - far + 0.2)


def _pairs(prediction: PyTree, target: PyTree) -> jax.Array:
    z = jnp.concatenate(prediction)
    z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    scores = jnp.where(jnp.eye(z.shape[0], dtype=bool), -jnp.inf, z @ z.T / 0.5)
    own = (z * jnp.roll(z, z.shape[0] // 2, axis=0)).sum(axis=-1) / 0.5
    return (jax.nn.logsumexp(scores, axis=-1) - own).reshape(2, -1).mean(axis=0)


def _ctc_of_optax(prediction: jax.Array, target: CTCTarget) -> jax.Array:
    import optax  # of the tests' requirements, and for this row alone

    frames = jnp.arange(prediction.shape[1])[None] >= target.input_lengths[:, None]
    places = jnp.arange(target.labels.shape[1])[None] >= target.label_lengths[:, None]
    paddings = frames.astype(jnp.float32), places.astype(jnp.float32)
    return optax.losses.ctc_loss(prediction, paddings[0], target.labels, paddings[1])


_N, _SMALL = (4096, 128), (16, 10)
WEIGHTS = np.linspace(0.5, 1.5, 65)
ROWS: dict[str, Costed] = {
    "softmax_cross_entropy": LossCostRow(
        losses.softmax_cross_entropy(), (4096, 65), _SMALL, _labels, _log_softmax_and_take
    ),
    "softmax_cross_entropy, V=50257": LossCostRow(
        losses.softmax_cross_entropy(), (512, 50257), _SMALL, _labels, _log_softmax_and_take
    ),
    "softmax_cross_entropy, smoothed": LossCostRow(
        losses.softmax_cross_entropy(smoothing=0.1), (4096, 65), _SMALL, _labels, _smoothed
    ),
    "softmax_cross_entropy, class weights": LossCostRow(
        losses.softmax_cross_entropy(class_weights=WEIGHTS),
        (4096, 65),
        (16, 65),
        _labels,
        _weighted,
    ),
    "softmax_cross_entropy, ignoring": LossCostRow(
        losses.softmax_cross_entropy(ignore=0), (4096, 65), _SMALL, _labels, _ignoring
    ),
    "projection": CostRow(
        losses.projection(512),
        (128, 784),
        (8, 16),
        lambda p, x: Projected(x, p.w, p.b),
        reason="no arithmetic: a copy at most",
    ),
    "linear_softmax_cross_entropy, 16384": LossCostRow(
        losses.linear_softmax_cross_entropy(),
        _factors(2048, 256, 16384),
        _factors(16, 8, 30),
        _words,
        _linear_then_log_softmax,
    ),
    "linear_softmax_cross_entropy, 50257": LossCostRow(
        losses.linear_softmax_cross_entropy(),
        _factors(2048, 256, 50257),
        _factors(16, 8, 30),
        _words,
        _linear_then_log_softmax,
    ),
    "cross_entropy": LossCostRow(
        losses.cross_entropy(),
        _probabilities(4096, 65),
        _probabilities(16, 10),
        _labels,
        _composed,
    ),
    "kl_divergence": LossCostRow(
        losses.kl_divergence(),
        _N,
        _SMALL,
        _distribution,
        _divergence,
        reason="in a scan the guard of 0 · ∞ is a select that XLA writes to memory",
    ),
    "binary_logistic": LossCostRow(losses.binary_logistic(), _N, _SMALL, _binary, _logistic),
    "binary_focal": LossCostRow(losses.binary_focal(), _N, _SMALL, _binary, _focal),
    "softmax_focal": LossCostRow(losses.softmax_focal(), _N, _SMALL, _labels, _softmax_focal),
    "hinge, sum": LossCostRow(
        losses.hinge(), _N, _SMALL, _labels, lambda s, t: _violations(s, t).sum(axis=-1)
    ),
    "hinge, max": LossCostRow(
        losses.hinge("max"), _N, _SMALL, _labels, lambda s, t: _violations(s, t).max(axis=-1)
    ),
    "hinge, sum squared": LossCostRow(
        losses.hinge(squared=True),
        _N,
        _SMALL,
        _labels,
        lambda s, t: (_violations(s, t) ** 2).sum(axis=-1),
    ),
    "squared_error": LossCostRow(
        losses.squared_error(), _N, _SMALL, _numbers, lambda p, t: ((p - t) ** 2).sum(axis=-1)
    ),
    "absolute_error": LossCostRow(
        losses.absolute_error(), _N, _SMALL, _numbers, lambda p, t: jnp.abs(p - t).sum(axis=-1)
    ),
    "huber": LossCostRow(
        losses.huber(),
        _N,
        _SMALL,
        _numbers,
        lambda p, t: jnp.where(jnp.abs(p - t) <= 1, 0.5 * (p - t) ** 2, jnp.abs(p - t) - 0.5).sum(
            axis=-1
        ),
    ),
    "log_cosh": LossCostRow(
        losses.log_cosh(),
        _N,
        _SMALL,
        _numbers,
        lambda p, t: (jnp.logaddexp(p - t, t - p) - np.log(2).astype(p.dtype)).sum(axis=-1),
    ),
    "cosine_distance": LossCostRow(losses.cosine_distance(), _N, _SMALL, _numbers, _cosine),
    "triplet": LossCostRow(losses.triplet(), _tuple(3, *_N), _tuple(3, *_SMALL), _none, _triplet),
    "nt_xent": LossCostRow(losses.nt_xent(), _tuple(2, 512, 128), _tuple(2, 16, 10), _none, _pairs),
    "ctc": LossCostRow(
        losses.ctc(),
        (16, 200, 30),
        (2, 10, 5),
        _utterances,
        _ctc_of_optax,
        reason="a guard of -∞ and a new scale in every frame; optax has -1e5 for -∞ and no scale",
    ),
}
