"""Two statements of the lecture notes that only training can test, on 8×8 images of digits.

    python -m experiments.errata --train

One to two minutes on two cores. Every arm has the same rates to choose from. The data are the 1,797
digits of scikit-learn; the source of the first statement is a convolutional net on CIFAR-10.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.errata_claims import Claim, Finding
from fnn import initializers, layers, losses
from fnn.extras import require
from fnn.layer import Array, Key, Layer, PyTree

RATES = (0.03, 0.1, 0.3, 1.0, 3.0)
STEPS = 400
SEEDS = 3


class Run(NamedTuple):
    """Of every seed and rate."""

    loss: np.ndarray[Any, Any]  # (seeds, rates, steps), the mean training loss
    shift: np.ndarray[Any, Any]  # (seeds, rates, steps), see `_shift`


def speed_of_relu() -> Finding:
    """Steps until the training loss is 0.1, at the best rate of each activation."""
    steps = {
        name: _steps_to(_train(_plain(act)).loss, 0.1)
        for name, act in (
            ("relu", layers.relu),
            ("tanh", layers.tanh),
            ("sigmoid", layers.sigmoid),
        )
    }
    ratios = {name: steps[name] / steps["relu"] for name in ("tanh", "sigmoid")}
    numbers = (
        *(f"{name}: {count:.0f} steps" for name, count in steps.items()),
        *(f"{name} / relu: {ratio:.1f}" for name, ratio in ratios.items()),
    )
    six = all(abs(ratio - 6) < 1 for ratio in ratios.values())
    return Finding(numbers, six, ratios["sigmoid"] / ratios["tanh"] > 1.2)


def covariate_shift() -> Finding:
    """Five sigmoid layers: without batch norm, with it, and with it and drifting noise behind it."""
    arms = {
        "without batch norm": (),
        "with batch norm": (layers.batch_norm,),
        "with batch norm and noise": (layers.batch_norm, drifting_noise),
    }
    loss, shift = dict[str, float](), dict[str, float]()
    for name, between in arms.items():
        run = _train(_deep(between))
        final = run.loss[..., -50:].mean(-1)
        best = int(np.nanargmin(np.where(np.isfinite(final), final, np.inf).mean(0)))
        loss[name], shift[name] = float(final[:, best].mean()), float(run.shift[:, best].mean())
    bare, still, shaken = arms
    numbers = (
        *(f"{name}: training loss {loss[name]:.2f}" for name in arms),
        *(
            f"{name}: the last units' inputs move by {shift[name]:.3f} deviations a step"
            for name in (still, shaken)
        ),
    )
    moved = shift[shaken] > 10 * shift[still]
    kept = loss[shaken] < 0.5 * loss[bare]  # a stable distribution is not what it came from
    return Finding(numbers, not (moved and kept), moved and kept)


def drifting_noise(size: float = 0.3) -> Layer:
    """Every channel times (1 + size · u) plus size · v, with u and v drawn anew at every step."""

    def init(key: Key, x: Array) -> tuple[tuple[()], tuple[()]]:
        del key, x  # no parameters, no state
        return (), ()

    def draw(key: Key, x: Array) -> tuple[Array, Array]:
        assert key is not None
        u, v = jax.random.normal(key, (2, 1, x.shape[-1]), x.dtype)
        return 1 + size * u, size * v

    def forward(params: PyTree, state: PyTree, x: Array, key: Key) -> tuple[Array, PyTree, Array]:
        del params  # there are none
        scale, offset = draw(key, x)
        return x * scale + offset, state, scale

    def backward(params: PyTree, cache: Array, dy: Array) -> tuple[PyTree, Array]:
        return params, dy * cache

    def predict(params: PyTree, state: PyTree, x: Array) -> Array:
        del params, state  # there are none
        return x

    return Layer("drifting_noise", init, forward, backward, predict)


def _plain(act: Callable[[], Layer]) -> Layer:
    init = initializers.xavier_normal
    return fnn.chain(
        layers.linear(64, kernel_init=init),
        act(),
        layers.linear(64, kernel_init=init),
        act(),
        logits=layers.linear(10, kernel_init=init),
    )


def _deep(between: tuple[Callable[[], Layer], ...]) -> Layer:
    init = initializers.xavier_normal
    blocks = [
        layer
        for _ in range(5)
        for layer in (
            layers.linear(32, kernel_init=init),
            *(make() for make in between),
            layers.sigmoid(),
        )
    ]
    return fnn.chain(*blocks, logits=layers.linear(10, kernel_init=init))


def _train(net: Layer) -> Run:
    """Plain descent on mini-batches of 64, all seeds and rates in one compiled call."""
    x, labels = _digits()
    gradient = fnn.value_and_grad(net, losses.softmax_cross_entropy())

    def one(seed: Array, rate: Array) -> tuple[Array, Array]:
        key = jax.random.key(seed)
        params, state = net.init(key, x)

        def advance(carry: PyTree, step: Array) -> tuple[PyTree, tuple[Array, Array]]:
            params, state, before = carry
            now = jax.random.fold_in(key, step)
            rows = jax.random.randint(now, (64,), 0, len(x))
            (loss, auxiliary), dparams = gradient(params, state, x[rows], labels[rows], now)
            params = jax.tree.map(lambda p, g: p - rate * g, params, dparams)
            probe = _last_input(net, params, auxiliary.state, x[:256], now)
            return (params, auxiliary.state, probe), (loss, _shift(before, probe))

        first = _last_input(net, params, state, x[:256], key)
        return jax.lax.scan(advance, (params, state, first), jnp.arange(STEPS))[1]

    over_rates = jax.vmap(one, (None, 0))
    run = jax.jit(jax.vmap(over_rates, (0, None)))(jnp.arange(SEEDS), jnp.asarray(RATES))
    return Run(*(np.asarray(array) for array in run))


def _last_input(net: Layer, params: PyTree, state: PyTree, x: Array, key: Key) -> Array:
    """What the last activation is given, in a training pass: the network without its last two parts."""
    assert net.rebuild is not None
    names = list(net.parts)[:-2]
    body = net.rebuild({name: net.parts[name] for name in names})
    body_params, body_state = ({name: tree[name] for name in names} for tree in (params, state))
    return body.forward(body_params, body_state, x, key)[0]


def _shift(before: Array, after: Array) -> Array:
    """How far the units' means moved, in units of their deviations: a mean over the units."""
    return (jnp.abs(after.mean(0) - before.mean(0)) / (before.std(0) + 1e-6)).mean()


def _steps_to(loss: np.ndarray[Any, Any], goal: float) -> float:
    """Steps until a mean over 20 of them is below the goal: the best rate, the mean over seeds."""
    smooth = np.apply_along_axis(lambda a: np.convolve(a, np.ones(20) / 20, "valid"), -1, loss)
    reached = smooth < goal
    steps = np.where(reached.any(-1), reached.argmax(-1) + 20, np.inf)
    return float(steps.mean(0).min())


def _digits() -> tuple[Array, Array]:
    datasets = require("sklearn.datasets", "experiments")
    x, labels = datasets.load_digits(return_X_y=True)
    x = (x - x.mean(0)) / (x.std() + 1e-6)
    return jnp.asarray(x, jnp.float32), jnp.asarray(labels, jnp.int32)


TRAINING = (
    Claim(
        "ReLU is six times as fast",
        "it converges six times faster than sigmoid and tanh",
        "six times than tanh, for one four-layer convolutional net on CIFAR-10 (Krizhevsky, 2012); "
        "the ratio depends on the net",
        speed_of_relu,
    ),
    Claim(
        "Internal covariate shift",
        "batch norm works because it keeps the distribution of a layer's inputs still",
        "contested: noise behind it moves them a hundred times as much, and most of the gain stays "
        "(Santurkar et al., 2018)",
        covariate_shift,
    ),
)
