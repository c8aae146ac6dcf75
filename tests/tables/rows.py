"""What a row of the tables says of one layer, loss or optimizer."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np

from fnn.layer import Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Optimizer

Drawn = tuple[int, ...] | Callable[[np.random.Generator], PyTree]


def draw(x: Drawn, rng: np.random.Generator) -> PyTree:
    """Normal numbers of a shape, or what the row draws itself."""
    return x(rng) if callable(x) else rng.normal(size=x).astype(np.float32)


def floating(leaf: jax.Array | np.ndarray) -> bool:
    """Whether a leaf has a direction; indices, lengths and masks have none."""
    return bool(jax.numpy.issubdtype(leaf.dtype, np.floating))


def public(room: ModuleType, kind: type) -> dict[str, Callable[..., object]]:
    """The functions of a package that say that they return a `kind`: each must have a row."""
    return {
        name: function
        for name, function in vars(room).items()
        if inspect.isfunction(function)
        and inspect.signature(function, eval_str=True).return_annotation is kind
    }


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer as the properties see it."""

    build: Callable[[], Layer]
    # The shape of x, or what draws x where it is more than one array of normal numbers.
    x: Drawn
    # Batches that the layer refuses, with the reason in its docstring.
    refuses_empty_batch: bool = False
    # Whether it refuses sequences without a step and images without a row, of which it has no window,
    # no mean and no maximum.
    refuses_no_time: bool = False
    # Whether integers go through; every other layer refuses what has no direction.
    takes_integers: bool = False
    # Whether every leaf of x has the batch for its first axis.
    batched: bool = True
    # The f32 bound of hand against autodiff, 1e-5 unless the row says why not.
    f32_tolerance: float = 1e-5
    # Hard inputs at which autodiff of the forward pass differs from the stated answer, and why.
    hard: Mapping[str, str] = dataclasses.field(default_factory=dict)

    # What of y comes from x; the rest is handed on, and has neither its batch nor its dtype.
    of_x: Callable[[PyTree], PyTree] = lambda y: y
    # Another x for planted faults: of a layer that draws so many elements that a wrong mask differs.
    faults: Drawn | None = None

    @property
    def refused(self) -> set[str]:
        """The kinds of hard inputs that it refuses."""
        kinds = {"empty batch": self.refuses_empty_batch, "no time": self.refuses_no_time}
        return {kind for kind, refuses in kinds.items() if refuses}

    def draw(self, rng: np.random.Generator) -> PyTree:
        """An x of numpy arrays."""
        return draw(self.x, rng)

    def draw_for_faults(self, rng: np.random.Generator) -> PyTree:
        """The x with which faults are planted."""
        return draw(self.x if self.faults is None else self.faults, rng)


@dataclasses.dataclass(frozen=True)
class LossRow:
    """One loss and a target of each kind that it takes."""

    build: Callable[[], Loss]
    # The shape of the prediction, or what draws it where it is not an array of normal numbers.
    prediction: Drawn
    target: Callable[[np.random.Generator], PyTree]
    # Targets that are hard, made of the row's: at its prediction, or at the hard one of that kind.
    hard_targets: Mapping[str, Callable[[PyTree], PyTree]] = dataclasses.field(default_factory=dict)
    # Hard predictions at which autodiff of the forward pass differs from the stated answer, and why.
    hard: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def draw(self, rng: np.random.Generator) -> PyTree:
        """A prediction of numpy arrays."""
        return draw(self.prediction, rng)


@dataclasses.dataclass(frozen=True)
class OptimizerRow:
    """One optimizer, or one dialect of it, as the properties see it."""

    build: Callable[..., Optimizer]
    # A rate that suits a parabola with curvature 2.
    rate: float
    # The other hyperparameters that it is built with: leaves of the state, which a schedule may drive.
    # The first row of a `build` has its defaults.
    hyperparameters: Mapping[str, float] = dataclasses.field(default_factory=dict)
    # What else it is built with, such as a dialect; no leaf of the state.
    arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    # The rule in NumPy's float64, written from the source and not from our code:
    # formula(gradient, p, rate, **hyperparameters) yields p after every step.
    formula: Callable[..., Iterator[np.ndarray]] | None = None
    # The same optimizer of optax: peer(rate, **hyperparameters).
    peer: Callable[..., Any] | None = None
    # The relative distance to them after 50 steps in float32; 1e-6 unless the row says why not.
    f32_tolerance: float = 1e-6
    parabola_steps: int = 400
    # Its steps do not shrink with the gradient: it comes to rest only under a rate that falls to zero.
    needs_falling_rate: bool = False
    # Whether the rate is a leaf of the state; of Rprop it is only where the step sizes begin.
    rate_is_leaf: bool = True
    # Properties (the names of the tests, without "test_") that it does not have, each with the reason.
    without: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def optimizer(self, rate: object = None, **hyperparameters: object) -> Optimizer:
        """Built with the row's rate, or another, and other hyperparameters if wanted."""
        given = {**self.hyperparameters, **self.arguments, **hyperparameters}
        return self.build(self.rate if rate is None else rate, **given)

    def numbers(self, dtype: Any) -> dict[str, float]:
        """The rate and the other hyperparameters as a state of this dtype holds them."""
        given = {"rate": self.rate, **self.hyperparameters}
        return {name: float(np.asarray(value, dtype)) for name, value in given.items()}
