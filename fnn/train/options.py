"""How a step is made, beside the network, the loss and the optimizer.

The same keywords go to `train.step`, `train.epoch`, `train.fit` and whatever else makes steps.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypedDict

from fnn.arguments import check_takes
from fnn.batch import Augmentation as Augmentation
from fnn.batch import Batch as Batch
from fnn.batch import check_augmentation
from fnn.layer import Array, PyTree
from fnn.losses import Loss
from fnn.train.state import TrainState

Gradient = Literal["hand", "auto", "both"]
Metric = Callable[[PyTree, Array], Array]  # (prediction, target) -> a number an example


class Shardings(Protocol):
    """Where the parts of a training run lie, on a mesh of devices: see `train.shardings`."""

    @property
    def batch_parts(self) -> int:
        """How many devices, or rows of them, share a batch."""

    def place(self, train_state: TrainState) -> TrainState:
        """The train state, at its place; it may be there already."""

    def batch(self, batch: Batch) -> Batch:
        """The batch, constrained to its place, within a compiled call."""

    def keep(self, train_state: TrainState) -> TrainState:
        """The train state, constrained to where it was placed, within a compiled call."""

    def replicate(self, examples: PyTree) -> PyTree:
        """What every device needs whole, on every device."""

    def differentiated(self, derive: Callable[..., Any]) -> Callable[..., Any]:
        """A `fnn.train.derivation.Derivation` that is told where parameters and gradients lie."""

    def evaluated(self, judge: Callable[..., Any]) -> Callable[..., Any]:
        """A function of parameters that is told where they lie; what it gives is on every device."""


class StepOptions(TypedDict, total=False):
    """The keywords; none is required.

    gradient: "hand" for the hand-written backward, "auto" for `jax.grad` of the same forward, "both" to
      train with the first and report its distance from the second in `info.distance`.
    metrics: functions of (prediction, target) that give a number an example.
    augment: a pure function ``(key, batch) -> batch`` between the data and the network, such as those of
      `fnn.augment`; its key is the step's, so that a run that is resumed draws what it would have drawn.
    shardings: where state and batches lie, on a mesh of several devices.
    micro_batches: differentiate the batch in so many equal parts, one after another, and descend the
      gradient of the whole: the caches of one part are in memory at a time. Exactly the whole batch's
      gradient, weights included, of losses that are means over examples; a layer that uses the batch
      (batch norm) or a loss that does (`nt_xent`) sees parts, the network's state goes from part to
      part, and part i, the examples i, i + k, i + 2k, …, draws with a key of its own. A part must not
      be ragged: it must divide the batch. `optimizers.accumulate` is for batches of several steps, where
      the large batch is not there at once; it costs a tree more like the parameters in the state. In
      parts, as in any loop, convolutions on a CPU are fast with hand-written gradients only.
    """

    gradient: Gradient
    metrics: Mapping[str, Metric] | None
    augment: Augmentation | None
    shardings: Shardings | None
    micro_batches: int


def check_metrics(metrics: object) -> None:
    """Refuse metrics that are not functions of (prediction, target) by name.

    Raises:
      TypeError: saying what came.
    """
    if metrics is None:
        return
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise TypeError(
            "expected metrics as functions by name, such as {'accuracy': train.accuracy}, got "
            f"{metrics!r}"
        )
    for name, metric in metrics.items():
        check_takes(metric, ("prediction", "target"), f"metrics, {name!r}")


def check_parts(loss: object, augment: object, shardings: object) -> None:
    """Refuse what is no loss, no augmentation or no shardings.

    Raises:
      TypeError: saying what came.
    """
    if not isinstance(loss, Loss):
        raise TypeError(
            f"expected a loss, such as losses.softmax_cross_entropy(), got {loss!r}; was it called?"
        )
    if augment is not None:
        check_augmentation(augment, "augment")
    check_shardings(shardings)


def check_shardings(shardings: object) -> None:
    """Refuse what is no shardings.

    Raises:
      TypeError: saying what came.
    """
    if shardings is not None and not hasattr(shardings, "differentiated"):
        raise TypeError(f"shardings: expected train.shardings(mesh, rules), got {shardings!r}")
