"""What a run asks of its arguments before the first step."""

from collections.abc import Callable, Mapping

import jax

from fnn.layer import PyTree
from fnn.train.examples import check_division
from fnn.train.metrics.streaming import Reduction
from fnn.train.options import Batch, StepOptions
from fnn.train.precision import AnyOptimizer
from fnn.train.state import TrainState
from fnn.tree import paths


def call_length(total: int, wanted: int) -> int:
    """How many steps a call makes, if about `wanted` are asked for, of `total`.

    The divisor of `total` nearest to `wanted` in ratio, so that one compilation serves every call; but
    `wanted` itself, and a shorter last call, if the nearest is not within a factor of two.

    Raises:
      ValueError: less than one step is wanted.
    """
    if wanted < 1:
        raise ValueError(f"expected at least one step a call, got {wanted}")
    wanted = min(wanted, total)

    def distance(length: int) -> float:
        return max(length / wanted, wanted / length)

    near = range((wanted + 1) // 2, min(2 * wanted, total) + 1)
    return min((d for d in near if total % d == 0), key=distance, default=wanted)


def check_state(optimizer: AnyOptimizer, train_state: TrainState) -> None:
    """Refuse a train state that was made for another optimizer.

    Raises:
      ValueError: naming the leaves that are missing, too many, or of another shape.
    """
    expected = jax.eval_shape(optimizer.init, train_state.params)
    wanted, given = (
        {path: (leaf.shape, leaf.dtype) for path, leaf in paths(tree)}
        for tree in (expected, train_state.optimizer)
    )
    if wanted != given:
        differing = sorted(p for p in wanted.keys() | given.keys() if wanted.get(p) != given.get(p))
        raise ValueError(
            "expected a train state that `train.init` made with this optimizer, got another "
            f"optimizer's: they differ in {', '.join(differing)}"
        )


def check_batch_size(size: int, options: StepOptions) -> None:
    """Refuse batches that do not fall into the micro-batches, or those not onto the devices.

    Raises:
      ValueError: with the numbers.
    """
    shardings = options.get("shardings")
    devices = 1 if shardings is None else shardings.batch_parts
    check_division(size, options.get("micro_batches", 1), devices)


def check_reduced(reductions: Mapping[str, Reduction] | None, validation: Batch | None) -> None:
    """Refuse reductions where nothing is evaluated.

    Raises:
      ValueError: naming them.
    """
    if reductions and validation is None:
        raise ValueError(
            "expected examples to evaluate on, validation=(x, target), for the reductions "
            f"{sorted(reductions)}, got none"
        )


def check_parameters(
    evaluate_with: Callable[[TrainState], PyTree], train_state: TrainState
) -> None:
    """Refuse parameters to evaluate that are not of the network's.

    Raises:
      ValueError: they are not made like those of the train state.
    """
    given = jax.eval_shape(evaluate_with, train_state)
    wanted, got = (
        [(path, leaf.shape) for path, leaf in paths(tree)] for tree in (train_state.params, given)
    )
    if wanted != got:
        differing = sorted({path for path, _ in set(wanted) ^ set(got)})
        raise ValueError(
            "evaluate_with: expected parameters made like those of the train state, got others: they "
            f"differ in {', '.join(differing) or 'their order'}"
        )
