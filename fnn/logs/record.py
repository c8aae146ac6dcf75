"""A report in plain numbers, for files, tables and screens."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn.train.fit import Report


def record(report: Report) -> dict[str, Any]:
    """The report as a tree of numbers, lists and dictionaries, without what is large.

    step: steps made in all; epoch: the same in epochs. loss, metrics, gradient_norm, and with
      gradient="both" distance: means over the steps of the report that were made, NaN if none was.
    scale, skipped: with `train.loss_scaling`, the last step's scale, and the batches of the report that
      were skipped.
    seconds: that the training call took; examples_per_second: how many it saw in each.
    evaluation: if there is one, its loss, metrics and reductions; never its predictions.
    """
    info = report.info
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
    if report.evaluation is not None:
        found["evaluation"] = {
            "loss": float(report.evaluation.loss),
            "metrics": plain(report.evaluation.metrics),
            "reductions": plain(report.evaluation.reductions),
        }
    return found


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
