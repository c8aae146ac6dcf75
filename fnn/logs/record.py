"""A report in plain numbers, for files, tables and screens."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fnn.train import population
from fnn.train.evaluate import Evaluation
from fnn.train.fit import Report
from fnn.train.step import Info

AnyReport = Report | population.Report


def record(report: AnyReport) -> dict[str, Any]:
    """The report as a tree of numbers, lists and dictionaries, without what is large.

    step: steps made in all; epoch: the same in epochs. loss, metrics, gradient_norm, and with
      gradient="both" distance: means over the steps of the report that were made, NaN if none was.
    scale, skipped: with `train.loss_scaling`, the last step's scale, and the batches of the report that
      were skipped.
    seconds: that the training call took; examples_per_second: how many it saw in each.
    evaluation: if there is one, its loss, metrics and reductions; never its predictions.

    Of a population's report, all but step, epoch and the two of the time are lists with an entry a
    member, and there are two more:

    members, running: how many there are, and of each whether it has not stopped.
    """
    if isinstance(report, population.Report):
        return _of_members(report)
    return _recorded(report, report.info, report.evaluation)


def _of_members(report: population.Report) -> dict[str, Any]:
    """The record of each member, merged into one whose numbers are lists."""
    count = len(report.running)

    def part(tree: Any, member: int) -> Any:
        return population.member(tree, member) if jax.tree.leaves(tree) else tree

    evaluation = report.evaluation
    if evaluation is not None:
        evaluation = evaluation._replace(prediction=None)
    # On the host at once, not in a transfer for each member.
    info, evaluation = jax.device_get((report.info, evaluation))
    each = [_recorded(report, part(info, i), part(evaluation, i)) for i in range(count)]
    alike = ("step", "epoch", "seconds", "examples_per_second")
    found = {name: _merged([one[name] for one in each]) for name in each[0]}
    found |= {name: each[0][name] for name in alike}
    return found | {"members": count, "running": np.asarray(report.running).tolist()}


def _merged(each: list[Any]) -> Any:
    if isinstance(each[0], dict):
        return {name: _merged([one[name] for one in each]) for name in each[0]}
    return each


def _recorded(report: AnyReport, info: Info, evaluation: Evaluation | None) -> dict[str, Any]:
    """The record of one run, with this part of a report."""
    made = np.asarray(info.finite)

    def mean(values: Any) -> float:
        kept = np.asarray(values, np.float64)[made]
        return float(kept.mean()) if kept.size else float("nan")

    found: dict[str, Any] = {
        "step": int(report.steps),
        "epoch": float(report.epochs),
        "loss": mean(info.loss),
        "metrics": {name: mean(values) for name, values in info.metrics.items()},
        "gradient_norm": mean(info.gradient_norm),
    }
    if info.distance is not None:
        found["distance"] = mean(info.distance)
    if info.scale is not None:
        found["scale"] = float(np.asarray(info.scale)[-1])
        found["skipped"] = int((~made).sum())
    found["seconds"] = float(report.seconds)
    found["examples_per_second"] = report.examples / report.seconds
    if evaluation is not None:
        found["evaluation"] = {
            "loss": float(evaluation.loss),
            "metrics": plain(evaluation.metrics),
            "reductions": plain(evaluation.reductions),
        }
    return found


def summarized(found: Mapping[str, Any]) -> dict[str, Any]:
    """A population's record with mean, min and max over its members in place of each list of numbers.

    Those that are not finite are left out, and NaN stands for none. `running` becomes their number. The
    record of a single run stays as it is.
    """
    if "members" not in found:
        return dict(found)
    summary: dict[str, Any] = _over_members({**found, "running": int(sum(found["running"]))})
    return summary


def _over_members(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _over_members(value) for name, value in tree.items()}
    if not isinstance(tree, list) or not all(isinstance(value, int | float) for value in tree):
        return tree
    return over_members(np.asarray(tree, np.float64))


def over_members(values: np.ndarray) -> dict[str, float]:
    """Mean, min and max of those that are finite; NaN where none is."""
    values = values[np.isfinite(values)]
    if not values.size:
        return dict.fromkeys(("mean", "min", "max"), float("nan"))
    return {
        "mean": float(values.mean()),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def steps_made(report: AnyReport) -> int:
    """The steps that were made before the report's call."""
    return report.steps - int(np.shape(report.info.loss)[-1])


def plain(tree: Any) -> Any:
    """Named tuples and mappings as dictionaries, tuples as lists, arrays as numbers or nested lists."""
    if isinstance(tree, Mapping):
        return {str(name): plain(value) for name, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_asdict"):
        return plain(tree._asdict())
    if isinstance(tree, tuple | list):
        return [plain(value) for value in tree]
    return tree if tree is None else np.asarray(tree).tolist()


def scalars(tree: Mapping[str, Any], path: str = "") -> dict[str, float]:
    """The single numbers of a record by their paths, such as ``evaluation/metrics/accuracy``."""
    found: dict[str, float] = {}
    for name, value in tree.items():
        own = f"{path}/{name}" if path else name
        if isinstance(value, Mapping):
            found |= scalars(value, own)
        elif isinstance(value, int | float):
            found[own] = float(value)
    return found
