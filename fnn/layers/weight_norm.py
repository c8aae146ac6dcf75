"""A layer whose weight is rescaled before use: weight norm and spectral norm.

Both take a layer with a parameter `w` and give one with another parametrization of it. What the layer
does with its weight is its own business: its forward and backward pass are called with the rescaled w,
and its dw is carried on by the chain rule to what w was made of.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Key, Layer, PyTree


class WeightNormParams(NamedTuple):
    """Length and direction of the weight's slices, and what else the layer learns."""

    gain: Array  # one number a slice, in w's rank: (1, …, 1, F)
    direction: Array  # the shape of w
    layer: PyTree  # the layer's parameters, with None for w


class SpectralNormParams(NamedTuple):
    """The weight before it is divided by its largest singular value, and what else the layer learns."""

    w: Array
    layer: PyTree  # the layer's parameters, with None for w


class SpectralNormState(NamedTuple):
    """The singular vectors as far as they are known, at least float32, and the layer's state."""

    left: Array  # (K,), of norm 1; K all axes of w but the last taken as one
    right: Array  # (F,), of norm 1
    layer: PyTree


class SpectralNormCache(NamedTuple):
    """The vectors that w was divided by means of, and the layer's cache."""

    left: Array  # (K,)
    right: Array  # (F,)
    layer: PyTree


def weight_norm(layer: Layer, *, axis: int = -1, eps: float = 1e-12) -> Layer:
    """The layer with its weight in polar coordinates: each unit's length and direction apart.

    Forward, for every slice v of the direction at one place of `axis` (a column of a linear layer's w,
    a filter of a convolution's), with a sum over the slice:

        n = √(Σ v² + eps)      w = gain · v / n      y = layer(w, x)

    Backward, from the layer's own dw:

        dgain = Σ dw · v / n      dv = gain / n · (dw - dgain · v / n)

    The start is the layer's own: v = w and gain = n. eps keeps a slice of zeros from being 0 / 0.
    Shapes: those of the layer; gain is of w's rank with 1 for all axes but `axis`. Cache: the layer's
    own; w is computed again. `state` is the layer's. Source: Salimans, Kingma (2016).

    Raises:
      ValueError: eps is not above 0, or w has no such axis.
      TypeError: the layer's parameters are no named tuple with an array `w`.
    """
    if not eps > 0:
        raise ValueError(
            f"weight_norm: expected eps > 0, without which zeros have no direction, got {eps}"
        )
    name = f"weight_norm({layer.name})"

    def norm(v: Array) -> Array:
        if not -v.ndim <= axis < v.ndim:
            raise ValueError(f"{name}: expected w to have an axis {axis}, got w of shape {v.shape}")
        others = tuple(i for i in range(v.ndim) if i != axis % v.ndim)
        return jnp.sqrt((v * v).sum(axis=others, keepdims=True) + eps)

    def weight(params: WeightNormParams) -> Array:
        v = _wide(params.direction)
        w = params.gain.astype(v.dtype) / norm(v) * v
        return w.astype(params.direction.dtype)

    def inner(params: WeightNormParams) -> PyTree:
        return params.layer._replace(w=weight(params))

    def init(key: Key, x: PyTree) -> tuple[WeightNormParams, PyTree]:
        params, state = layer.init(key, x)
        w = _weight_of(name, params)
        gain = norm(_wide(w)).astype(w.dtype)
        return WeightNormParams(gain, w, params._replace(w=None)), state

    def forward(
        params: WeightNormParams, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        return layer.forward(inner(params), state, x, key)

    def backward(
        params: WeightNormParams, cache: PyTree, dy: PyTree
    ) -> tuple[WeightNormParams, PyTree]:
        dlayer, dx = layer.backward(inner(params), cache, dy)
        dw, v = _wide(dlayer.w), _wide(params.direction)
        n, gain = norm(v), params.gain.astype(v.dtype)
        unit = v / n
        others = tuple(i for i in range(v.ndim) if i != axis % v.ndim)
        dgain = (dw * unit).sum(axis=others, keepdims=True)
        dv = gain / n * (dw - dgain * unit)
        dparams = WeightNormParams(
            dgain.astype(params.gain.dtype),
            dv.astype(params.direction.dtype),
            dlayer._replace(w=None),
        )
        return dparams, dx

    def predict(params: WeightNormParams, state: PyTree, x: PyTree) -> PyTree:
        return layer.predict(inner(params), state, x)

    return Layer(name, init, forward, backward, predict)


def spectral_norm(layer: Layer, *, iterations: int = 1, first_iterations: int = 20) -> Layer:
    """The layer with its weight divided by its largest singular value.

    With w as a matrix (K, F), its last axis the outputs, and unit vectors u (K) and v (F) that the state
    carries, Forward:

        σ = uᵀ w v      y = layer(w / σ, x)

    and then, for the next step, `iterations` times ``u = w v / |w v|``, ``v = wᵀ u / |wᵀ u|``: the power
    iteration, which so follows w while it learns. Backward, from the layer's own dw̄ for w̄ = w / σ:

        dw = (dw̄ - Σ(dw̄ · w̄) · u vᵀ) / σ

    As u and v are the state's, they are constants of the step, and this is the exact derivative of what
    was computed, converged or not. (Where they are renewed first, as in the paper, one leaves out how
    they depend on w, and the gradient is exact only at convergence.) Once converged, σ is the largest
    singular value and u vᵀ its derivative; a linear layer is then 1-Lipschitz. `init` takes
    `first_iterations` steps, and `predict` the state's vectors as they are. A weight of zeros has no
    singular vector and gives NaN.

    Shapes: those of the layer; u and v are at least float32. Cache: u, v and the layer's own; w / σ is
    computed again. Source: Miyato, Kataoka, Koyama, Yoshida (2018).

    Raises:
      ValueError: a number of iterations is below 1, or w has fewer than two axes.
      TypeError: the layer's parameters are no named tuple with an array `w`.
    """
    if iterations < 1 or first_iterations < 1:
        raise ValueError(
            f"spectral_norm: expected at least one iteration, got {iterations} and, "
            f"at first, {first_iterations}"
        )
    name = f"spectral_norm({layer.name})"

    def divided(
        params: SpectralNormParams, left: Array, right: Array
    ) -> tuple[PyTree, Array, Array]:
        """The layer's own parameters; w / σ as a matrix, and σ, both at least float32."""
        wide = _matrix(params.w)
        sigma = left.astype(wide.dtype) @ wide @ right.astype(wide.dtype)
        unit = wide / sigma
        w = unit.reshape(params.w.shape).astype(params.w.dtype)
        return params.layer._replace(w=w), unit, sigma

    def init(key: Key, x: PyTree) -> tuple[SpectralNormParams, SpectralNormState]:
        params, state = layer.init(key, x)
        w = _weight_of(name, params)
        if w.ndim < 2:
            raise ValueError(f"{name}: expected w of two axes at least, got shape {w.shape}")
        matrix = _matrix(w)
        # The longest row lies in no plane that the largest singular vector is orthogonal to by accident,
        # as a fixed vector may.
        start = matrix[jnp.argmax((matrix * matrix).sum(axis=1))]
        left, right = _iterate(matrix, _unit(start), first_iterations)
        return (
            SpectralNormParams(w, params._replace(w=None)),
            SpectralNormState(left, right, state),
        )

    def forward(
        params: SpectralNormParams, state: SpectralNormState, x: PyTree, key: Key
    ) -> tuple[PyTree, SpectralNormState, SpectralNormCache]:
        left, right, inner_state = state
        inner, _, _ = divided(params, left, right)
        y, inner_state, cache = layer.forward(inner, inner_state, x, key)
        matrix = jax.lax.stop_gradient(_matrix(params.w))
        following = _iterate(matrix, right.astype(matrix.dtype), iterations)
        new_left, new_right = (
            new.astype(old.dtype) for new, old in zip(following, (left, right), strict=True)
        )
        return (
            y,
            SpectralNormState(new_left, new_right, inner_state),
            SpectralNormCache(left, right, cache),
        )

    def backward(
        params: SpectralNormParams, cache: SpectralNormCache, dy: PyTree
    ) -> tuple[SpectralNormParams, PyTree]:
        left, right, inner_cache = cache
        inner, unit, sigma = divided(params, left, right)
        dlayer, dx = layer.backward(inner, inner_cache, dy)
        dunit = _matrix(dlayer.w)
        # Along the rank-one matrix of left and right, which is not made: it is as large as w.
        along = (dunit * unit).sum() * left.astype(dunit.dtype)
        dw = (dunit - along[:, None] * right.astype(dunit.dtype)[None, :]) / sigma
        dparams = SpectralNormParams(
            dw.reshape(params.w.shape).astype(params.w.dtype), dlayer._replace(w=None)
        )
        return dparams, dx

    def predict(params: SpectralNormParams, state: SpectralNormState, x: PyTree) -> PyTree:
        inner, _, _ = divided(params, state.left, state.right)
        return layer.predict(inner, state.layer, x)

    return Layer(name, init, forward, backward, predict)


def _weight_of(name: str, params: Any) -> Array:
    w = getattr(params, "w", None)
    if w is None or not hasattr(params, "_replace"):
        raise TypeError(
            f"{name}: expected a layer whose parameters are a named tuple with an array `w`, "
            f"got {type(params).__name__}"
        )
    return w


def _wide(w: Array) -> Array:
    return w.astype(accumulation_dtype(w.dtype))


def _matrix(w: Array) -> Array:
    """(…, F) -> (K, F), at least float32."""
    return _wide(w).reshape(-1, w.shape[-1])


def _unit(vector: Array) -> Array:
    return vector / jnp.sqrt((vector * vector).sum())


def _iterate(matrix: Array, right: Array, iterations: int) -> tuple[Array, Array]:
    """(left, right) after that many steps of the power iteration."""

    def step(_: Any, vectors: tuple[Array, Array]) -> tuple[Array, Array]:
        left = _unit(matrix @ vectors[1])
        return left, _unit(left @ matrix)

    first = step(None, (matrix[:, 0], right))
    return jax.lax.fori_loop(1, iterations, step, first)
