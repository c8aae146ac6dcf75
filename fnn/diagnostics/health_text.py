"""The table of a network's health."""

import math
from collections import defaultdict

from fnn.diagnostics.findings import findings
from fnn.diagnostics.health_results import Health, LayerHealth
from fnn.tables import table

_NAME = 26  # characters of a layer's name


def health_text(health: Health) -> str:
    """A row a layer: its output, its gradient, what it makes of both, and what was found."""
    marks: dict[str, list[str]] = defaultdict(list)
    for finding in findings(health):
        marks[finding.path].append(finding.kind.upper())
    head = ["layer", "kind", "mean", "std", "largest", "zeros", "gain", "‖dL/dy‖", "gain back"]
    head += ["‖dL/dθ‖", "rank", "dead", "flat", ""]
    lines = [[*_cells(row), ", ".join(marks[row.path])] for row in health.rows]
    title = f"loss {float(health.loss):.4g} on {health.examples} examples"
    drawn = table(head, lines, left=2)
    return "\n".join([title, *drawn])


def _cells(row: LayerHealth) -> list[str]:
    y, dy = row.y, row.dy
    total = math.sqrt(sum(float(each.norm) ** 2 for each in row.gradients.values()))
    width = row.width
    rank = "" if row.rank is None else f"{row.rank.effective:.1f} of {width}"
    elements = 0.0 if y is None else float(y.finite + y.nonfinite)
    return [
        row.path or "(network)",
        row.name if len(row.name) <= _NAME else row.name[: _NAME - 1] + "…",
        "" if y is None else _short(float(y.mean)),
        "" if y is None else _short(float(y.deviation)),
        "" if y is None else _short(max(abs(float(y.low)), abs(float(y.high)))),
        "" if y is None else _percent(float(y.zeros) / max(elements, 1)),
        _short(row.forward_gain),
        "" if dy is None else _short(float(dy.norm)),
        _short(row.backward_gain),
        _short(total) if row.gradients else "",
        rank,
        "" if row.dead is None or not row.dead.any() else f"{int(row.dead.sum())} of {width}",
        "" if row.saturated is None else _percent(row.saturated),
    ]


def _short(value: float) -> str:
    """Three digits; nothing for what is not known."""
    return "" if math.isnan(value) else f"{value:.2e}" if _far(value) else f"{value:.3g}"


def _far(value: float) -> bool:
    return value != 0 and not 1e-3 <= abs(value) < 1e4


def _percent(share: float) -> str:
    return "" if share == 0 else f"{share:.0%}" if share >= 0.01 else "<1%"
