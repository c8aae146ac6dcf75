"""How parameters start: `initializer(key, shape, dtype) -> array`.

A kernel's last axis is its output, the one before it its input, and the axes before those are the
window of a convolution. So, with r the number of window positions,

    fan_in = r · shape[-2]        fan_out = r · shape[-1] / groups

where a grouped kernel's shape[-2] already is the number of inputs of one group. `zeros`, `he_normal` and
the like are initializers as they are; `normal(0.02)`, `variance_scaling(…)` and `scaled(…)` make one.
`gain` is the factor for the activation that follows: ``scaled(orthogonal, gain("relu"))``. What looks at
data instead is `fnn.lsuv.lsuv`.
"""

from fnn.initializers.constants import constant, identity, ones, zeros
from fnn.initializers.draws import normal, truncated_normal, uniform
from fnn.initializers.gains import gain
from fnn.initializers.initializer import Initializer, fans, scaled
from fnn.initializers.orthogonal import delta_orthogonal, orthogonal
from fnn.initializers.variance import (
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "fans",
    "gain",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "scaled",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
