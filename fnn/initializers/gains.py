"""The factor by which a kernel is made larger for the activation after it."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from fnn.layer import Array


def _elu(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def _gelu(z: np.ndarray) -> np.ndarray:
    return z * np.asarray([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])


def _silu(z: np.ndarray) -> np.ndarray:
    return z / (1 + np.exp(-z))


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.logaddexp(z, 0)


def _mish(z: np.ndarray) -> np.ndarray:
    return z * np.tanh(_softplus(z))


_CUSTOMARY = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
_COMPUTED = {"elu": _elu, "gelu": _gelu, "silu": _silu, "softplus": _softplus, "mish": _mish}


def gain(activation: str | Callable[[Array], Array], slope: float = 0.01) -> float:
    """The factor for a kernel whose output goes through this activation.

    The law is the second moment's: ``1 / √E[f(z)²]`` with z normal, so that a kernel of variance
    gain² / fan_in gives the next layer inputs of mean square 1. What follows it, and what does not:

        linear      1
        relu        √2                      the law; He et al. (2015)
        leaky_relu  √(2 / (1 + slope²))     the law; He et al. (2015)
        elu, gelu, silu, softplus, mish     the law, as an integral
        sigmoid     1                       custom (the law: 1.85); Glorot, Bengio (2010)
        tanh        5/3                     custom (the law: 1.59); PyTorch. Deep nets settle at it, at
                                            a mean square of 0.4; at 1 they fade
        selu        3/4                     custom (the law: 1, what its source wants, with lecun_normal);
                                            PyTorch

    A function instead of a name is integrated: ``gain(jnp.tanh)`` is 1.59.

    Args:
      activation: a name, or a function of arrays, elementwise.
      slope: the negative slope of leaky_relu.

    Raises:
      ValueError: an unknown name, a slope that is not finite, or a function whose second moment is 0 or
        not finite.
    """
    if callable(activation):
        function = activation
        return _second_moment(lambda z: np.asarray(function(jnp.asarray(z, float)), np.float64))
    if activation == "leaky_relu":
        if not math.isfinite(slope):
            raise ValueError(f"gain: expected a finite slope, got {slope}")
        return math.sqrt(2 / (1 + slope**2))
    if activation in _CUSTOMARY:
        return _CUSTOMARY[activation]
    if activation in _COMPUTED:
        return _second_moment(_COMPUTED[activation])
    known = sorted([*_CUSTOMARY, *_COMPUTED, "leaky_relu"])
    raise ValueError(f"gain: expected one of {known} or a function, got {activation!r}")


def _second_moment(function: Callable[[np.ndarray], np.ndarray]) -> float:
    """``1 / √E[f(z)²]``, by the trapezoidal rule on ±10, where it is exact to ten digits."""
    z = np.linspace(-10, 10, 20_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    values = function(z)
    moment = float(np.sum(values**2 * density) * (z[1] - z[0])) if values.shape == z.shape else 0.0
    if not (math.isfinite(moment) and moment > 0):
        raise ValueError(
            "gain: expected an elementwise function with a second moment that is finite and not 0, "
            f"got values of shape {values.shape} and {moment}"
        )
    return 1 / math.sqrt(moment)
