"""What a run reported so far, and its curves."""

import itertools
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from fnn.diagnostics.plots.curves import COURSE_HEAD, course_line, smoothed
from fnn.diagnostics.report.chart import Curve, chart
from fnn.diagnostics.report.sections import Section, table, with_twin
from fnn.logs.record import record, scalars
from fnn.tables import table as text_table
from fnn.train.fit import Report

_ROWS = 12  # of the table of the last reports


class History:
    """The records of all reports, and the losses of all steps."""

    def __init__(self, earlier: Iterable[Mapping[str, Any]] = ()) -> None:
        self._records: list[Mapping[str, Any]] = list(earlier)
        self._begun = False
        self._steps: list[np.ndarray] = []
        self._losses: list[np.ndarray] = []

    def add(self, report: Report) -> None:
        """Take note of a report; with the first one, what was reported of later steps is dropped."""
        losses = np.asarray(report.info.loss, np.float64)
        before = report.steps - len(losses)
        if not self._begun:
            self._records = [each for each in self._records if each["step"] <= before]
            self._begun = True
        self._records.append(record(report))
        self._steps.append(np.arange(before + 1, report.steps + 1))
        self._losses.append(losses)

    @property
    def last(self) -> Mapping[str, Any] | None:
        """The newest record."""
        return self._records[-1] if self._records else None

    def sections(self) -> list[Section]:
        """The curves, and the numbers of the last reports."""
        if not self._records:
            return []
        return [self._curves(), self._reports()]

    def _curves(self) -> Section:
        charts = [self._loss()]
        metrics = dict.fromkeys(
            name
            for each in self._records
            for name in (*each["metrics"], *each.get("evaluation", {}).get("metrics", {}))
        )
        charts += [self._quantity(name) for name in metrics]
        norm = self._series("gradient_norm")
        charts.append(self._drawn("gradient norm", [Curve("gradient norm", *norm, 0)]))
        return Section("Curves", f'<div class="charts">{"".join(filter(None, charts))}</div>')

    def _loss(self) -> str:
        curves = []
        if self._losses:
            steps, losses = np.concatenate(self._steps), np.concatenate(self._losses)
            curves.append(Curve("every step", steps, losses, 0, faint=True))
        if len(self._records) > 1 or not self._losses:
            curves.append(Curve("training", *self._series("loss"), 0))
        else:  # one report: its steps are the curve
            curves.append(Curve("training, smoothed", steps, smoothed(losses), 0))
        evaluated = self._series("evaluation", "loss")
        if len(evaluated[0]):
            curves.append(Curve("validation", *evaluated, 1, dots=True))
        return self._drawn("loss", curves)

    def _quantity(self, name: str) -> str:
        curves = [Curve("training", *self._series("metrics", name), 0)]
        evaluated = self._series("evaluation", "metrics", name)
        if len(evaluated[0]):
            curves.append(Curve("validation", *evaluated, 1, dots=True))
        return self._drawn(name, curves)

    def _drawn(self, name: str, curves: list[Curve]) -> str:
        """A chart with its name above and its text twin below; nothing without any point."""
        curves = [curve for curve in curves if len(curve.x)]
        if not curves:
            return ""
        drawn = chart(curves, title=name, x_label="step", y_label=name, across=self._span())
        smaller = "loss" in name or "norm" in name or "error" in name
        lines = [course_line(c.name, c.y, largest=not smaller) for c in curves if not c.faint]
        twin = "\n".join(text_table(COURSE_HEAD, lines))
        return f"<div><h3>{escape(name)}</h3>{with_twin(drawn, name, twin)}</div>"

    def _span(self) -> tuple[float, float]:
        """The first and the last step that anything is known of."""
        known = [each["step"] for each in self._records]
        known += [int(steps[0]) for steps in self._steps[:1] if len(steps)]
        return min(known), max(known)

    def _series(self, *path: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of the records that have it, where it is a number."""
        found = [(each["step"], _at(each, path)) for each in self._records]
        kept = [(step, value) for step, value in found if isinstance(value, int | float)]
        steps, values = zip(*kept, strict=True) if kept else ((), ())
        return np.asarray(steps, np.float64), np.asarray(values, np.float64)

    def _reports(self) -> Section:
        rows = [scalars(each) for each in self._records[-_ROWS:]]
        # On a phone four columns are seen: what is learned stands before what it costs.
        names = sorted(dict.fromkeys(itertools.chain.from_iterable(rows)), key=_place)
        lines = [
            [_number(row[name]) if name in row else "" for name in names] for row in reversed(rows)
        ]
        caption = f"The last {len(rows)} of {len(self._records)}, the newest first"
        return table("Reports", list(map(_heading, names)), lines, caption=caption)


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.5g}"


def _heading(path: str) -> str:
    """Of a column, from a path such as evaluation/metrics/accuracy."""
    kept = [part for part in path.split("/") if part not in {"metrics", "reductions"}]
    return " ".join(kept).replace("evaluation", "validation").replace("_", " ")


_FOREMOST = ("step", "epoch", "loss", "metrics", "evaluation")


def _place(path: str) -> int:
    """Of a column, from the left; those of one place keep their order."""
    first = path.partition("/")[0]
    return _FOREMOST.index(first) if first in _FOREMOST else len(_FOREMOST)


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree
