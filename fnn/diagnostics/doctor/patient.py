"""Who is examined, and what several checks look at: each computed once, when a check first wants it."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.batch import steps_per_epoch
from fnn.diagnostics.doctor.trial import Trial, tried
from fnn.gradient import value_and_grad
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Optimizer, adam, hyperparameters
from fnn.tap import Passage, passages
from fnn.train.examples import example_count

# Adam's own default, for a patient that comes without an optimizer.
OWN_RATE = 1e-3


class Budget(NamedTuple):
    """How much work a diagnosis may be.

    Attributes:
      examples: how many are looked at, at equal distances in the set.
      proof: examples on which the gradient is proved.
      overfit: labels that must be learned by heart.
      overfit_steps: in which these must be.
      steps: those of a trial run with the patient's optimizer.
      rates: those of the range test.
    """

    examples: int = 400
    proof: int = 4
    overfit: int = 20
    overfit_steps: int = 300
    steps: int = 60
    rates: int = 80


@dataclasses.dataclass(frozen=True)
class Patient:
    """A network with its loss and data, as it would be trained."""

    net: Layer
    loss: Loss
    x: PyTree  # (N, …), as many examples as the budget allows
    target: Array  # (N, …)
    whole: tuple[Any, Any]  # all examples, for what looks at the data alone; as they were given
    optimizer: Optimizer | None
    params: PyTree
    state: PyTree
    fresh: bool  # whether the two above are of the network's own init
    validation: tuple[Any, Any] | None
    key: Array
    batch_size: int
    frozen: tuple[str, ...]  # patterns of the paths that are meant to stay
    budget: Budget

    @property
    def count(self) -> int:
        """N."""
        return example_count((self.x, self.target))

    @property
    def by(self) -> Optimizer:
        """The patient's optimizer, or one that is sound for most."""
        return adam(OWN_RATE) if self.optimizer is None else self.optimizer

    @cached_property
    def rates(self) -> dict[str, float]:
        """The optimizer's rates by their paths, those that are numbers of its state."""
        known = hyperparameters(self.by.init(self.params))
        return {
            path: float(value) for path, value in known.items() if path.rpartition("/")[2] == "rate"
        }

    def some(self, count: int) -> tuple[PyTree, Array]:
        """`count` examples at equal distances, so that no class is left out of a sorted set."""
        return thinned((self.x, self.target), count)

    @cached_property
    def seen(self) -> dict[str, Passage]:
        """What each leaf layer saw of one batch of the patient's own size, 64 at most."""
        x, target = self.some(min(self.batch_size, self.count, 64))
        return passages(self.net, self.loss, self.params, self.state, x, target, self.key)

    @cached_property
    def start(self) -> "Start":
        """The first loss, the predictions and the gradients, on all examples at once."""
        (value, auxiliary), grads = jax.jit(value_and_grad(self.net, self.loss))(
            self.params, self.state, self.x, self.target, self.key
        )
        return Start(float(value), auxiliary.losses, auxiliary.prediction, grads)

    @cached_property
    def classes(self) -> int | None:
        """C, if the target is classes and the prediction has a number for each; else None."""
        prediction = jax.eval_shape(self.net.predict, self.params, self.state, self.x)
        return classes_of(prediction, self.target)

    @cached_property
    def trial(self) -> Trial:
        """A short run with the patient's own optimizer, as it came."""
        return self.try_rate(None)

    @property
    def finite(self) -> bool:
        """Whether the trial's first loss and gradient are finite, so that its steps mean something."""
        return bool(np.isfinite([self.trial.losses[0], *self.trial.pushed[0]]).all())

    def try_rate(self, rate: float | None) -> Trial:
        """A short run with its optimizer and another rate."""
        return self._run(self.params, self.state, (self.x, self.target), self.key, rate)

    @cached_property
    def _run(self) -> Callable[..., Trial]:
        return tried(self.net, self.loss, self.by, self.batch_size, self.budget.steps)


class Start(NamedTuple):
    """Before any step."""

    value: float  # the mean loss
    losses: Array
    prediction: PyTree
    grads: PyTree


def thinned(examples: Any, count: int) -> Any:
    """`count` of the examples at equal distances; all, if they are fewer."""
    total = example_count(examples)
    chosen = np.linspace(0, total - 1, min(count, total)).round().astype(int)
    return jax.tree.map(lambda leaf: leaf[chosen], examples)


def classes_of(prediction: PyTree, target: Any) -> int | None:
    """C where ``prediction`` is (…, C) and ``target`` integers (…); None for anything else."""
    if not hasattr(prediction, "shape") or not hasattr(target, "shape"):
        return None
    integer = jnp.issubdtype(target.dtype, jnp.integer)
    if not integer or prediction.ndim != target.ndim + 1 or prediction.shape[-1] < 2:
        return None
    return int(prediction.shape[-1])


def fitting(batch_size: int | None, count: int) -> int:
    """The size of a batch: as given, or 32, and no more than there are examples.

    Raises:
      ValueError: none fits.
    """
    size = min(32, count) if batch_size is None else batch_size
    steps_per_epoch(count, size)
    return size
