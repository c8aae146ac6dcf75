"""Smooth activations: softplus, softsign, gelu, silu, mish, squareplus.

Where the formula reads ∞ · 0 or ∞ / ∞, the value and the slope are those of the limit: a unit that is
saturated is no NaN. The curves of silu and gelu are here for the gated units too.
"""

import math

import jax
import jax.numpy as jnp

from fnn.layer import Array, Layer
from fnn.layers.pointwise import Curve, Gate, bounded, from_input, from_output

# From these on, a curve equals its asymptote in float64.
_ERF_BOUND = 40.0
_EXP_BOUND = 750.0
_SQUARE_BOUND = 1e10

_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def softplus() -> Layer:
    """A smooth rectifier.

    Forward: ``y = log(1 + exp(x))``. Backward: ``dx = dy · σ(x)`` with σ the sigmoid. Shapes: any.
    Cache: x; from y, ``1 - exp(-y)`` would take an expm1, a fifth longer. Source: Dugas, Bengio,
    Bélisle, Nadeau, Garcia (2001).

    Raises:
      TypeError: x is of integers.
    """

    def value(x: Array) -> Array:
        # exp never grows. At 0 the second form is taken, whose derivatives of every order are right.
        return jnp.where(x > 0, x, 0) + jnp.log1p(jnp.exp(jnp.where(x > 0, -x, x)))

    return from_input("softplus", Curve(value, jax.lax.logistic))


def softsign() -> Layer:
    """A sigmoid that saturates slowly.

    Forward: ``y = x / (1 + |x|)``, and ±1 at ±∞. Backward: ``dx = dy / (1 + |x|)²``. Shapes: any.
    Cache: x, since 1 - |y| would lose the digits of a small slope. Source: Bergstra et al. (2009).

    Raises:
      TypeError: x is of integers.
    """

    def value(x: Array) -> Array:
        infinite = jnp.isinf(x)
        finite = jnp.where(infinite, 0, x)
        return jnp.where(infinite, jnp.sign(x), finite / (1 + jnp.abs(finite)))

    def slope(x: Array) -> Array:
        root = 1 / (1 + jnp.abs(x))
        return root * root  # a square of the denominator would overflow

    return from_input("softsign", Curve(value, slope))


def silu() -> Layer:
    """The sigmoid-weighted linear unit, also called swish.

    Forward: ``y = x · σ(x)``, with σ the sigmoid; 0 at -∞. Backward:
    ``dx = dy · s · (1 + x · (1 - s))`` with ``s = σ(x)``. Shapes: any. Cache: x. Source: Hendrycks,
    Gimpel (2016); Elfwing, Uchibe, Doya (2018).

    Raises:
      TypeError: x is of integers.
    """
    return from_input("silu", SILU.curve())


def gelu(*, approximate: bool = True) -> Layer:
    """The Gaussian error linear unit.

    Forward, with Φ and φ the normal distribution and its density: ``y = x · Φ(x)``; the approximate form
    has ``(1 + tanh u) / 2`` for Φ, with ``u = √(2/π) · (x + 0.044715 x³)``. Backward:

        exact:         dx = dy · (Φ(x) + x · φ(x))
        approximate:   dx = dy · (1 + t + x · (1 - t²) · u′) / 2,    t = tanh u

    y is 0 at -∞. Shapes: any. Cache: x. The default is that of `jax.nn.gelu`; PyTorch's is the exact
    form. Φ is ``(1 + erf(x / √2)) / 2``, right to the last place of 1 rather than to that of a small Φ.
    At ±∞ the slope is 0 or 1 by hand; autodiff of the approximate form meets ∞ · 0 there, which to avoid
    would take a quarter more time.
    Source: Hendrycks, Gimpel (2016).

    Raises:
      TypeError: x is of integers.
    """
    if approximate:
        return from_input("gelu", GELU_TANH.curve())
    return from_input("gelu(exact)", GELU_EXACT.curve())


def mish() -> Layer:
    """A smooth unit of softplus and tanh.

    Forward: ``y = x · t`` with ``t = tanh(log(1 + exp(x)))``; 0 at -∞. With one exponential, and no
    logarithm or tanh, ``t = n / (n + 2)`` where ``n = e · (e + 2)``, ``e = exp(x)``. Backward:
    ``dx = dy · (t + x · t′)`` with ``t′ = 4 e (e + 1) / (n + 2)²``. Shapes: any. Cache: x.
    Source: Misra (2019).

    Raises:
      TypeError: x is of integers.
    """

    def parts(x: Array) -> tuple[Array, Array, Array, Array]:
        """exp(-|x|), the sign, and n and n + 2, for positive x both over e²."""
        positive = x > 0
        e = jnp.exp(jnp.where(positive, -x, x))
        n = jnp.where(positive, 1 + 2 * e, e * (e + 2))
        return e, positive, n, n + 2 * jnp.where(positive, e * e, 1)

    def value(x: Array) -> Array:
        inner = bounded(x, _EXP_BOUND)
        _, _, n, whole = parts(inner)
        return jnp.where(x >= _EXP_BOUND, x, inner * (n / whole))

    def slope(x: Array) -> Array:
        x = jnp.clip(x, -_EXP_BOUND, _EXP_BOUND)
        e, positive, n, whole = parts(x)
        inverse = 1 / whole
        inner = 4 * e * (1 + e) * jnp.where(positive, e, 1) * (inverse * inverse)
        return n * inverse + x * inner

    return from_input("mish", Curve(value, slope))


def squareplus(b: float = 4.0) -> Layer:
    """A smooth rectifier without an exponential.

    Forward: ``y = (x + √(x² + b)) / 2``, without the cancellation below 0. Backward, from the output:
    ``dx = dy / (1 + r²)`` with ``r = √b / (2 y)``. Shapes: any. Cache: y. Source: Barron (2021).

    Raises:
      TypeError: x is of integers.
      ValueError: b is not positive and finite.
    """
    if not 0 < b < math.inf:
        raise ValueError(f"squareplus: expected a positive and finite b, got {b}; 0 is relu")
    root = math.sqrt(b)

    def value(x: Array) -> Array:
        far = jnp.abs(x) >= _SQUARE_BOUND * root  # x² might overflow
        near = jnp.where(far, 0, x)
        distant = jnp.where(far, x, root)
        size = jnp.sqrt(near * near + b)
        above = 0.5 * (near + size)
        below = 0.5 * b / (size - jnp.where(x > 0, 0, near))
        line = jnp.where(x > 0, distant, -0.25 * b / distant)
        return jnp.where(far, line, jnp.where(x > 0, above, below))

    def slope(y: Array) -> Array:
        ratio = 0.5 * root / y
        return 1 / (1 + ratio * ratio)

    return from_output(f"squareplus({b})", Curve(value, slope))


def _silu(x: Array) -> Array:
    # Selected by where the sigmoid has rounded to 0 and to 1, which holds for -∞ and ∞ as well.
    s = jax.lax.logistic(x)
    inner = jnp.where(s * (1 - s) == 0, 0, x)
    return jnp.where(s == 1, x, inner * s)


def _silu_and_slope(x: Array) -> tuple[Array, Array]:
    s = jax.lax.logistic(x)
    steep = s * (1 - s)
    return jnp.where(s == 0, 0, x) * s, s + jnp.where(steep == 0, 0, x) * steep


def _gelu_exact(x: Array) -> Array:
    inner = bounded(x, _ERF_BOUND)
    return jnp.where(x >= _ERF_BOUND, x, inner * _normal_distribution(inner))


def _gelu_exact_and_slope(x: Array) -> tuple[Array, Array]:
    inner = jnp.clip(x, -_ERF_BOUND, _ERF_BOUND)
    below = _normal_distribution(inner)
    density = jnp.exp(-0.5 * inner * inner) * (1 / math.sqrt(2 * math.pi))
    return jnp.maximum(x, -_ERF_BOUND) * below, below + inner * density


def _normal_distribution(x: Array) -> Array:
    # erf is one instruction of XLA's, where erfc is a branch of two series: 0.6 of the time.
    return 0.5 + 0.5 * jax.lax.erf(x * math.sqrt(0.5))


def _gelu_tanh(x: Array) -> Array:
    t = jnp.tanh(x * (_ROOT_2_OVER_PI + (_ROOT_2_OVER_PI * _CUBIC) * (x * x)))
    below = 0.5 + 0.5 * t
    return jnp.where(below == 0, 0, x) * below


def _gelu_tanh_and_slope(x: Array) -> tuple[Array, Array]:
    t = jnp.tanh(x * (_ROOT_2_OVER_PI + (_ROOT_2_OVER_PI * _CUBIC) * (x * x)))
    below, steep = 0.5 + 0.5 * t, 1 - t * t
    inner = jnp.where(steep == 0, 0, x)
    turn = 0.5 * _ROOT_2_OVER_PI + (1.5 * _ROOT_2_OVER_PI * _CUBIC) * (inner * inner)
    return jnp.where(below == 0, 0, x) * below, below + inner * (steep * turn)


SILU = Gate(_silu, _silu_and_slope)
GELU_TANH = Gate(_gelu_tanh, _gelu_tanh_and_slope)
GELU_EXACT = Gate(_gelu_exact, _gelu_exact_and_slope)
