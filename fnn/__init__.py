"""Neural networks as pure functions in JAX, every backward pass written by hand and proved.

The contract is `fnn.layer`; containers are here at the top, and the rest is in rooms:

    layers, losses, initializers    what networks are made of
    models                          networks that are ready to use
    neighbours                      the first baseline, with nothing to train
    optimizers                      optimizers, minimizers, schedules, and what goes around them
    gradient, check                 gradients by hand, and the proof that they are right
    data, augment                   reading, splitting and preparing data; changing it on the device
    train, logs                     steps, loops, checkpoints, populations, many devices; what a run says
    diagnostics                     summaries, health, the doctor, pictures, one page on a run
    exchange                        weights from and for other libraries
    cli                             the command `fnn`

Those that `import fnn` does not load are imported by their name: ``from fnn import train``.
"""

from fnn import initializers, layers, losses, optimizers
from fnn.compose import (
    bidirectional,
    chain,
    concatenate,
    conditional,
    frozen,
    graph,
    linear_decay,
    mixed,
    over_time,
    parallel,
    remat,
    repeat,
    residual,
    shared,
    stochastic_depth,
    transposed,
)
from fnn.gradient import custom_vjp, hvp, value_and_grad
from fnn.layer import (
    Layer,
    Static,
    backward_pass,
    forward_pass,
    map_layers,
    parameter_gradients,
    pure,
)

__all__ = [
    "Layer",
    "Static",
    "backward_pass",
    "bidirectional",
    "chain",
    "concatenate",
    "conditional",
    "custom_vjp",
    "forward_pass",
    "frozen",
    "graph",
    "hvp",
    "initializers",
    "layers",
    "linear_decay",
    "losses",
    "map_layers",
    "mixed",
    "optimizers",
    "over_time",
    "parallel",
    "parameter_gradients",
    "pure",
    "remat",
    "repeat",
    "residual",
    "shared",
    "stochastic_depth",
    "transposed",
    "value_and_grad",
]

__version__ = "0.1.0"
