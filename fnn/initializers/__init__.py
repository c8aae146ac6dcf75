"""How parameters start: `initializer(key, shape, dtype) -> array`.

A kernel's last axis is its output, the one before it its input, and the axes before those are the
window of a convolution. So, with r the number of window positions,

    fan_in = r · shape[-2]        fan_out = r · shape[-1] / groups

where a grouped kernel's shape[-2] already is the number of inputs of one group. `zeros`, `he_normal` and
the like are initializers as they are; `normal(0.02)`, `variance_scaling(…)` and `scaled(…)` make one.
`gain` is the factor for the activation that follows: ``scaled(orthogonal, gain("relu"))``. What looks at
data instead is `fnn.lsuv.lsuv`.
"""

from fnn.initializers.constants import constant as constant
from fnn.initializers.constants import identity as identity
from fnn.initializers.constants import ones as ones
from fnn.initializers.constants import zeros as zeros
from fnn.initializers.draws import normal as normal
from fnn.initializers.draws import truncated_normal as truncated_normal
from fnn.initializers.draws import uniform as uniform
from fnn.initializers.gains import gain as gain
from fnn.initializers.initializer import Initializer as Initializer
from fnn.initializers.initializer import fans as fans
from fnn.initializers.initializer import scaled as scaled
from fnn.initializers.orthogonal import delta_orthogonal as delta_orthogonal
from fnn.initializers.orthogonal import orthogonal as orthogonal
from fnn.initializers.variance import he_normal as he_normal
from fnn.initializers.variance import he_uniform as he_uniform
from fnn.initializers.variance import lecun_normal as lecun_normal
from fnn.initializers.variance import lecun_uniform as lecun_uniform
from fnn.initializers.variance import variance_scaling as variance_scaling
from fnn.initializers.variance import xavier_normal as xavier_normal
from fnn.initializers.variance import xavier_uniform as xavier_uniform
