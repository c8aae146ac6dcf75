"""The inference pass over a whole set of examples, in batches, compiled once."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradient import mean_over_examples
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.train.examples import example_count, take, unpacked
from fnn.train.metrics.streaming import Reduction, check_reductions, evaluated_reductions
from fnn.train.once import jit_once
from fnn.train.options import Batch, Metric, Shardings, check_metrics, check_parts

Gathered = dict[str, PyTree]  # the reductions' states
Judged = tuple[Array, dict[str, Array], PyTree]  # losses, metrics, predictions; of each example


class Evaluation(NamedTuple):
    """Means over all examples, and what the network said of each."""

    loss: Array  # ()
    metrics: dict[str, Array]  # () each
    prediction: PyTree  # (N, …), or None where predictions are not kept
    reductions: dict[str, PyTree]  # what each says


def evaluate(
    net: Layer,
    loss: Loss,
    *,
    batch_size: int,
    metrics: Mapping[str, Metric] | None = None,
    reductions: Mapping[str, Reduction] | None = None,
    predictions: bool = True,
    shardings: Shardings | None = None,
) -> Callable[[PyTree, PyTree, Batch], Evaluation]:
    """``evaluate(params, state, (x, target)) -> Evaluation``: `predict` on every example, once.

    With examples ``(x, target, weights)`` the means are weighted, as in a train step.
    One scan over batches of one size, at most `batch_size`, and after it what is left over as a smaller
    batch of its own: every example is seen once and none stands in for another, which a loss over the
    whole batch (`nt_xent`) would notice. If the number of batches divides the examples, nothing is left.

    Args:
      net: the network.
      loss: the loss of an example.
      batch_size: examples at a time, at most.
      metrics: functions of (prediction, target) that give a number an example, which is kept.
      reductions: what is gathered batch by batch, such as a confusion matrix: see `train.Reduction`.
      predictions: whether to keep what the network says of each example.
      shardings: of several devices, which share each batch: their number divides its size. What is left
        over, each of them sees. What comes out is whole on all.

    Raises:
      TypeError: what is no loss, no shardings, no `Reduction` among the reductions, or metrics that are
        no functions by name.
      ValueError: no examples, x and target that disagree about their number, a metric that is no number
        an example, or, if the mean loss is not finite, targets that the loss refuses.
      RetraceError: on a call with other shapes or dtypes than the first one's.
    """
    check_parts(loss, None, shardings)
    if batch_size < 1:
        raise ValueError(f"expected a batch size of at least 1, got {batch_size}")
    devices = 1 if shardings is None else shardings.batch_parts
    if batch_size < devices:
        raise ValueError(
            f"expected a batch size of at least the {devices} devices that share a batch, got "
            f"{batch_size}"
        )
    reductions = dict(reductions or {})
    check_reductions(reductions)
    check_metrics(metrics)

    def function(params: PyTree, state: PyTree, examples: Batch) -> Evaluation:
        count = example_count(examples)
        if count < 1:
            raise ValueError("expected at least one example to evaluate on, got none")
        batches = -(-count // (batch_size - batch_size % devices))
        size = -(-count // (batches * devices)) * devices
        full = count // size

        def judged(gathered: Gathered, batch: Array) -> tuple[Gathered, Judged]:
            own = take(examples, batch)
            if shardings is not None and batch.size % devices == 0:
                own = shardings.batch(own)
            x, target, weights = unpacked(own)
            prediction = net.predict(params, state, x)
            losses, _cache = loss.forward(prediction, target)
            values = {name: f(prediction, target) for name, f in (metrics or {}).items()}
            for name, value in values.items():
                if jnp.shape(value)[:1] != batch.shape:
                    raise ValueError(
                        f"expected a number an example of the metric {name!r}, shape "
                        f"({batch.size}, …), got shape {jnp.shape(value)}"
                    )
            gathered = {
                name: reductions[name].update(before, prediction, target, weights)
                for name, before in gathered.items()
            }
            return gathered, (losses, values, prediction if predictions else None)

        indices = jnp.arange(count, dtype=jnp.int32)
        whole, rest = indices[: full * size].reshape(full, size), indices[full * size :]
        gathered = {name: reduction.init() for name, reduction in reductions.items()}
        gathered, collected = jax.lax.scan(judged, gathered, whole)
        collected = jax.tree.map(lambda a: a.reshape(full * size, *a.shape[2:]), collected)
        if rest.size:
            gathered, last = judged(gathered, rest)
            collected = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), collected, last)
        losses, values, prediction = collected
        _, _, weights = unpacked(examples)
        mean, *means = (mean_over_examples(v, weights)[0] for v in (losses, *values.values()))
        return Evaluation(
            mean,
            dict(zip(values, means, strict=True)),
            prediction,
            evaluated_reductions(reductions, gathered),
        )

    judge = function if shardings is None else shardings.evaluated(function)
    run = jit_once("train.evaluate", judge)

    def evaluated(params: PyTree, state: PyTree, examples: Batch) -> Evaluation:
        example_count(examples)  # refuses text, which a compiled call would in its own words
        if shardings is not None and not any(map(_is_traced, jax.tree.leaves(examples))):
            examples = shardings.replicate(examples)
        result = run(params, state, examples)
        if not isinstance(result.loss, jax.core.Tracer) and not np.isfinite(result.loss):
            check_targets(net, loss, params, state, examples)
        return result

    return evaluated


def _is_traced(leaf: object) -> bool:
    return isinstance(leaf, jax.core.Tracer)


def check_targets(net: Layer, loss: Loss, params: PyTree, state: PyTree, examples: Batch) -> None:
    """Let the loss look at the values of all targets, which it cannot do inside of a compiled call.

    Nothing is computed but the shape of the predictions.

    Raises:
      ValueError: the loss's own, which names the first example that it refuses.
    """
    x, target, _ = unpacked(
        jax.tree.map(jnp.asarray, examples)
    )  # within a trace it would lose its values
    prediction = jax.eval_shape(net.predict, params, state, x)
    jax.eval_shape(lambda prediction: loss.forward(prediction, target)[0], prediction)
