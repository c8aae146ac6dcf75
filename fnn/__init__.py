"""Neural networks as pure functions in JAX, every backward pass written by hand and proved.

The contract is `fnn.layer`; containers are here at the top, and the rest is in rooms:

    layers, losses, initializers    what networks are made of
    models                          networks that are ready to use
    optimizers                      optimizers, minimizers, schedules, and what goes around them
    gradient, check                 gradients by hand, and the proof that they are right
    data, augment                   reading, splitting and preparing data; changing it on the device
    train, logs                     steps, loops, checkpoints, populations, many devices; what a run says
    diagnostics                     summaries, health, the doctor, pictures, one page on a run
    exchange                        weights from and for other libraries
    cli                             the command `fnn`

Those that `import fnn` does not load are imported by their name: ``from fnn import train``.
"""

from fnn import initializers as initializers
from fnn import layers as layers
from fnn import losses as losses
from fnn import optimizers as optimizers
from fnn.compose import chain as chain
from fnn.compose import concatenate as concatenate
from fnn.compose import frozen as frozen
from fnn.compose import graph as graph
from fnn.compose import mixed as mixed
from fnn.compose import over_time as over_time
from fnn.compose import parallel as parallel
from fnn.compose import remat as remat
from fnn.compose import repeat as repeat
from fnn.compose import residual as residual
from fnn.compose import shared as shared
from fnn.compose import transposed as transposed
from fnn.gradient import custom_vjp as custom_vjp
from fnn.gradient import hvp as hvp
from fnn.gradient import value_and_grad as value_and_grad
from fnn.layer import Layer as Layer
from fnn.layer import Static as Static
from fnn.layer import backward_pass as backward_pass
from fnn.layer import forward_pass as forward_pass
from fnn.layer import map_layers as map_layers
from fnn.layer import parameter_gradients as parameter_gradients
from fnn.layer import pure as pure

__version__ = "0.1.0"
