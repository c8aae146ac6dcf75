"""What the lecture notes say wrong besides backward formulas, measured: each claim with its numbers.

Everything is drawn by NumPy from fixed seeds, so that the numbers are the same on every machine to the
digits that are printed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn import initializers, layers, losses, optimizers
from fnn.layer import output_shape

Array = np.ndarray[Any, Any]


class Finding(NamedTuple):
    """Numbers, and whether they bear out the claim as printed and as corrected."""

    numbers: tuple[str, ...]
    printed_holds: bool
    correct_holds: bool


class Claim(NamedTuple):
    """One statement of the notes: as printed, as corrected, and how to measure both."""

    title: str
    printed: str
    correct: str
    measure: Callable[[], Finding]
    remark: str = ""


def directions() -> Finding:
    """A module that maps 3 numbers to 2: which of the two its forward pass takes."""
    layer, x = layers.linear(2), jnp.asarray(_normal(5, 3))
    params, state = layer.init(jax.random.key(0), x)
    y = fnn.forward_pass(layer, params, state, x)[0]
    try:
        output_shape(layer, params, state, y)
        takes_y = True
    except (TypeError, ValueError):
        takes_y = False
    dx = fnn.backward_pass(layer, params, layer.forward(params, state, x, None)[2], y)
    numbers = (
        f"linear(2): forward_pass of x {x.shape} gives y {y.shape}; of y it "
        + ("gives something" if takes_y else "fails"),
        f"backward_pass of dL/dy {y.shape} gives dL/dx {dx.shape}",
    )
    return Finding(numbers, takes_y, y.shape == (5, 2) and dx.shape == x.shape)


def hidden_table() -> Finding:
    """The best affine map for the table, and two thresholds that compute it."""
    points = np.array([[1, 1], [-1, -1], [-1, 1], [1, -1]], float)
    table = np.array([[1, 0], [1, 0], [0, 0], [1, 1]], float)
    augmented = np.concatenate([points, np.ones((4, 1))], axis=1)
    best = augmented @ np.linalg.lstsq(augmented, table, rcond=None)[0]
    # σ(20 · (x₁ − x₂ ± 1)): two units that are nearly thresholds; the class is 1 − h₁ + h₂.
    net = fnn.chain(
        hidden=layers.linear(2), act=layers.sigmoid(), read=layers.linear(1), out=layers.sigmoid()
    )
    x = jnp.asarray(points, jnp.float32)
    params, state = net.init(jax.random.key(0), x)
    params["hidden"] = params["hidden"]._replace(
        w=jnp.array([[20.0, 20.0], [-20.0, -20.0]]), b=jnp.array([20.0, -20.0])
    )
    params["read"] = params["read"]._replace(w=jnp.array([[-20.0], [20.0]]), b=jnp.array([10.0]))
    units = layers.sigmoid().predict((), (), x @ params["hidden"].w + params["hidden"].b[None, :])
    answer = np.asarray(net.predict(params, state, x))[:, 0]
    exact = np.array_equal(np.round(np.asarray(units)), table)
    numbers = (
        f"midpoint of A and B: {_pair(points[:2].mean(0))} -> {_pair(table[:2].mean(0))} by the table",
        f"midpoint of C and D: {_pair(points[2:].mean(0))} -> {_pair(table[2:].mean(0))} by the table",
        f"the best affine map misses an entry by {np.abs(best - table).max():.2f}",
        "two sigmoid units of 20·(x₁ − x₂ ± 1) give the table "
        + ("exactly when rounded" if exact else "wrongly"),
        f"a net on them predicts the classes 0, 0, 1, 1 as {', '.join(f'{p:.2f}' for p in answer)}",
    )
    right = exact and np.array_equal(np.round(answer), [0, 0, 1, 1])
    return Finding(numbers, bool(np.abs(best - table).max() < 1e-6), right)


def adam_first_step() -> Finding:
    """The first step divided by the rate, for a gradient of 0.01."""
    g, rate, b1, b2 = 0.01, 1e-3, 0.9, 0.999
    m, v = (1 - b1) * g, (1 - b2) * g**2
    printed = rate * m / (np.sqrt(v) + 1e-7) / rate
    optimizer = optimizers.adam(rate)
    params = jnp.zeros(1)
    update, _ = optimizer.update(jnp.full(1, g), optimizer.init(params), params)
    corrected = -float(update[0]) / rate
    numbers = (
        f"as printed {printed:.2f} times the rate, which is 0.1/√0.001 = {0.1 / np.sqrt(1e-3):.2f}",
        f"with the correction {corrected:.2f} times the rate",
    )
    return Finding(numbers, abs(printed - 1) < 0.01, abs(corrected - 1) < 0.01)


def batch_norm_statistics() -> Finding:
    """A channel normalized with its minimum, and with its mean."""
    x = 3 + 2 * _normal(1000, 1)
    printed = (x - x.min(0)) / np.sqrt(x.var(0) + 1e-5)
    layer = layers.batch_norm()
    params, state = layer.init(jax.random.key(0), jnp.asarray(x))
    y = np.asarray(layer.forward(params, state, jnp.asarray(x), None)[0])
    numbers = (
        f"with the minimum: mean {printed.mean():.2f}, deviation {printed.std():.2f}",
        f"with the mean: mean {abs(y.mean()):.2f}, deviation {y.std():.2f}",
    )
    return Finding(numbers, abs(printed.mean()) < 0.01, bool(abs(y.mean()) < 0.01))


def xavier_variance() -> Finding:
    """The variance of the printed initialization, in units of 1 / fan_in."""
    fan_in, fan_out = 400, 600
    rng = np.random.default_rng(0)
    printed = rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in / 2)
    key, shape = jax.random.key(0), (fan_in, fan_out)
    he = np.asarray(initializers.he_normal(key, shape, jnp.float32))
    xavier = np.asarray(initializers.xavier_normal(key, shape, jnp.float32))
    glorot = xavier.var() * (fan_in + fan_out) / 2
    numbers = (
        f"as printed: variance · fan_in = {printed.var() * fan_in:.2f}",
        f"he_normal: variance · fan_in = {he.var() * fan_in:.2f}",
        f"xavier_normal: variance · (fan_in + fan_out) / 2 = {glorot:.2f}",
    )
    return Finding(
        numbers,
        abs(printed.var() * (fan_in + fan_out) / 2 - 1) < 0.05,
        abs(glorot - 1) < 0.05 and abs(printed.var() / he.var() - 1) < 0.05,
    )


def l1_penalty() -> Finding:
    """The penalty Σ|w| and the number of zeros, when w grows; and what each penalty makes zero."""
    w = np.array([3.0, -0.5, 0.25, 0.0])
    zeros = int((w == 0).sum()), int((2 * w == 0).sum())
    size = np.abs(w).sum(), np.abs(2 * w).sum()
    # argmin ½‖v − w‖² + λ Σ|v|, and + λ/2 Σ v²
    soft = int((np.maximum(np.abs(w) - 0.4, 0) == 0).sum())
    ridge = int((w / 1.4 == 0).sum())
    numbers = (
        f"w = (3, -0.5, 0.25, 0) doubled: zeros {zeros[0]} -> {zeros[1]}",
        f"the L1 penalty of the same: {size[0]:.2f} -> {size[1]:.2f}",
        f"the nearest weights at λ = 0.4: L1 leaves {soft} zeros, L2 {ridge}",
    )
    return Finding(numbers, zeros[1] == 2 * zeros[0] == size[1], bool(size[1] == 2 * size[0]))


def dropout_at_test() -> Finding:
    """The mean over 20,000 masks against what is done at test, for a dropout probability of 0.2."""
    rate, x = 0.2, jnp.ones(20_000)
    rng = np.random.default_rng(0)
    train = float((rng.random(20_000) >= rate).mean())
    layer = layers.dropout(rate)
    y = float(layer.forward((), (), x, jax.random.key(0))[0].mean())
    test = float(layer.predict((), (), x).mean())
    numbers = (
        f"in training, a unit of 1 is on average {train:.2f}",
        f"at test, times the dropout probability: {rate:.2f}; times the keep probability: {1 - rate:.2f}",
        f"inverted dropout: on average {y:.2f} in training, {test:.2f} at test, with nothing to do",
    )
    right = abs(train - (1 - rate)) < 0.02 and abs(y - test) < 0.02
    return Finding(numbers, abs(train - rate) < 0.02, right)


def cost_tripled() -> Finding:
    """A descent whose cost goes far above three times the first one, and one that is NaN at once."""
    x, rate, costs = 0.5, 5.0, []
    for step in range(2000):
        costs.append(float(np.log(np.cosh(x))))
        x -= rate / (1 + step / 20) * np.tanh(x)
    first, largest, last = costs[0], max(costs), costs[-1]
    small, large = (np.array([z, 0, -z], np.float32) for z in (1, 100))
    before, after = _composed(small), _composed(large)
    label = jnp.array([0])
    fused = losses.softmax_cross_entropy().forward(jnp.asarray(large)[None], label)[0]
    numbers = (
        f"a descent on log cosh: cost {first:.2f} at first, {largest:.2f} at worst, {last:.2f} at last",
        f"its worst cost is {largest / first:.0f} times the first one",
        f"-log softmax composed: {before:.2f} at logits (1, 0, -1), {after:.2f} at (100, 0, -100)",
        f"the fused loss at (100, 0, -100): {float(fused[0]):.2f}",
    )
    printed = not (largest > 3 * first and last < 0.01) and not np.isnan(after)
    return Finding(numbers, printed, bool(np.isnan(after) and np.isfinite(fused[0])))


def _composed(logits: Array) -> float:
    """-log softmax of the first class, as the formula is written."""
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.exp(logits)
        return float(-np.log(p[0] / p.sum()))


def _pair(point: Array) -> str:
    return f"({point[0]:g}, {point[1]:g})"


def _normal(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


CLAIMS = (
    Claim(
        "The direction of the forward pass",
        "input y, output x",
        "input x, output y",
        directions,
    ),
    Claim(
        "The table of a hidden layer",
        "one linear map: A (1, 1), B (−1, −1) -> (1, 0); C (−1, 1) -> (0, 0); D (1, −1) -> (1, 1)",
        "two thresholds of x₁ − x₂ do; no affine map can, since it keeps midpoints",
        hidden_table,
    ),
    Claim(
        "Adam",
        "x −= rate · m / (√v + 1e-7), with m and v as they are",
        "m / (1 − b1ᵗ) and v / (1 − b2ᵗ) in their place",
        adam_first_step,
    ),
    Claim(
        "The statistics of batch norm",
        "minimum and variance",
        "mean and variance",
        batch_norm_statistics,
    ),
    Claim(
        "Xavier's initialization",
        "randn(fan_in, fan_out) / √(fan_in / 2)",
        "that is He's; Xavier's variance is 2 / (fan_in + fan_out), or 1 / fan_in",
        xavier_variance,
    ),
    Claim(
        "The L1 penalty",
        "it measures the number of zeros in the weights",
        "it is Σ|w|, a convex stand-in for the number of those that are not zero",
        l1_penalty,
    ),
    Claim(
        "Dropout at test",
        "multiply by the dropout probability",
        "multiply by the keep probability; inverted dropout does nothing",
        dropout_at_test,
        "The two agree at 0.5, where the mistake hides.",
    ),
    Claim(
        "A cost above three times the first",
        "then NaN is coming",
        "a heuristic, neither necessary nor sufficient: stop at what is not finite",
        cost_tripled,
    ),
)
