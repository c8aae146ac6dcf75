"""The tables that every property runs over: a new layer, loss or optimizer is one row here."""

import dataclasses
from collections.abc import Callable

import numpy as np

from fnn import layers, losses, optimizers
from fnn.compose import chain, parallel, residual
from fnn.layer import Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Optimizer


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer as the properties see it."""

    build: Callable[[], Layer]
    shape: tuple[int, ...]
    # Batches that the layer refuses, with the reason in its docstring.
    refuses_empty_batch: bool = False
    # Whether integers go through; every other layer refuses what has no direction.
    takes_integers: bool = False
    # The f32 bound of hand against autodiff, 1e-5 unless the row says why not.
    f32_tolerance: float = 1e-5


LAYERS = {
    "linear": LayerRow(lambda: layers.linear(5), (4, 3)),
    "linear of a sequence": LayerRow(lambda: layers.linear(5), (2, 4, 3)),
    "linear without bias": LayerRow(lambda: layers.linear(5, bias=False), (4, 3)),
    "sigmoid": LayerRow(layers.sigmoid, (4, 3)),
    "tanh": LayerRow(layers.tanh, (4, 3)),
    "relu": LayerRow(layers.relu, (4, 3)),
    "softmax": LayerRow(layers.softmax, (4, 3)),
    "softmax over the first axis": LayerRow(lambda: layers.softmax(axis=0), (4, 3)),
    "flatten": LayerRow(layers.flatten, (2, 3, 4), takes_integers=True),
    "convolution": LayerRow(lambda: layers.convolution(4, 3), (2, 6, 5, 3)),
    "convolution, strided": LayerRow(lambda: layers.convolution(4, 3, stride=2), (2, 7, 6, 3)),
    "convolution, valid, dilated": LayerRow(
        lambda: layers.convolution(4, (2, 3), padding="VALID", dilation=2), (2, 7, 8, 3)
    ),
    "convolution, explicit padding": LayerRow(
        lambda: layers.convolution(4, 3, padding=((1, 2), (0, 1))), (2, 6, 5, 3)
    ),
    "convolution, grouped": LayerRow(
        lambda: layers.convolution(6, 3, groups=2, bias=False), (2, 5, 5, 4)
    ),
    "convolution, depthwise": LayerRow(lambda: layers.convolution(8, 3, groups=4), (2, 6, 5, 4)),
    "convolution, 1x1": LayerRow(lambda: layers.convolution(4, 1), (2, 6, 5, 3)),
    "max_pool": LayerRow(lambda: layers.max_pool(2), (2, 6, 5, 3)),
    "max_pool, overlapping": LayerRow(
        lambda: layers.max_pool(3, stride=2, padding="SAME"), (2, 6, 5, 3)
    ),
    "max_pool, large": LayerRow(
        lambda: layers.max_pool(9, stride=(1, 2), padding="SAME"), (2, 9, 11, 2)
    ),
    "batch_norm": LayerRow(layers.batch_norm, (8, 3), refuses_empty_batch=True),
    "batch_norm of images": LayerRow(layers.batch_norm, (4, 5, 5, 3), refuses_empty_batch=True),
    "dropout": LayerRow(lambda: layers.dropout(0.3), (4, 5)),
    "chain": LayerRow(lambda: chain(layers.linear(4), layers.tanh(), out=layers.linear(2)), (4, 3)),
    "parallel": LayerRow(
        lambda: parallel(a=layers.linear(4), b=chain(layers.tanh(), layers.linear(2))), (4, 3)
    ),
    "residual": LayerRow(
        lambda: residual(chain(layers.linear(3), layers.tanh(), layers.dropout(0.2))), (4, 3)
    ),
    "residual with a shortcut": LayerRow(
        lambda: residual(layers.linear(5), shortcut=layers.linear(5, bias=False)), (4, 3)
    ),
}

LAYER_FUNCTIONS = {
    layers.linear, layers.sigmoid, layers.tanh, layers.relu, layers.softmax, layers.flatten,
    layers.convolution, layers.max_pool, layers.batch_norm, layers.dropout,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LossRow:
    """One loss and a target of each kind that it takes."""

    build: Callable[[], Loss]
    shape: tuple[int, ...]
    target: Callable[[np.random.Generator], PyTree]


def _distribution(rng: np.random.Generator) -> np.ndarray:
    """Rows that are not normalized: the gradient must know their sum."""
    return rng.uniform(0, 1, (6, 4)).astype(np.float32)


LOSSES = {
    "softmax_cross_entropy, labels": LossRow(
        losses.softmax_cross_entropy, (6, 4), lambda rng: rng.integers(0, 4, 6, np.int32)
    ),
    "softmax_cross_entropy, distribution": LossRow(
        losses.softmax_cross_entropy, (6, 4), _distribution
    ),
    "softmax_cross_entropy of a sequence": LossRow(
        losses.softmax_cross_entropy, (3, 2, 4), lambda rng: rng.integers(0, 4, (3, 2), np.int32)
    ),
    **{
        f"squared_error, {reduction}": LossRow(
            lambda reduction=reduction: losses.squared_error(reduction),
            (6, 2, 2),
            lambda rng: rng.normal(size=(6, 2, 2)).astype(np.float32),
        )
        for reduction in ("sum", "half", "mean")
    },
}
LOSS_FUNCTIONS = {losses.softmax_cross_entropy, losses.squared_error}


@dataclasses.dataclass(frozen=True)
class OptimizerRow:
    """One optimizer, with a rate that suits a parabola, and its hyperparameters."""

    build: Callable[..., Optimizer]
    rate: float
    hyperparameters: tuple[str, ...]


OPTIMIZERS = {
    "sgd": OptimizerRow(optimizers.sgd, 0.1, ("rate",)),
    "momentum": OptimizerRow(optimizers.momentum, 0.02, ("rate", "decay")),
    "nesterov": OptimizerRow(optimizers.nesterov, 0.02, ("rate", "decay")),
    "adam": OptimizerRow(optimizers.adam, 0.1, ("rate", "b1", "b2", "eps")),
}
OPTIMIZER_FUNCTIONS = {
    optimizers.sgd, optimizers.momentum, optimizers.nesterov, optimizers.adam,
}  # fmt: skip
