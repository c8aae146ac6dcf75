"""Curves as inline SVG: drawn in a millisecond, in the colours of the page, light or dark.

What the pictures of `fnn.diagnostics.plots` need matplotlib for, a page that is written every few seconds
while a network trains has without.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

_WIDTH, _HEIGHT = 420, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 38
_POINTS = 600  # of a line, at most


class Curve(NamedTuple):
    """One line of a chart."""

    name: str
    x: np.ndarray  # (n,)
    y: np.ndarray  # (n,); what is not finite is a gap
    kind: int  # 0, 1, 2: colour and dashes
    faint: bool = False  # behind the others
    dots: bool = False  # a dot a point


def chart(
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    across: tuple[float, float] | None = None,
) -> str:
    """An `<svg>` with axes, labels and a legend; logarithmic upward where the values span a factor of 10.

    Without a finite value it says so instead.

    Args:
      curves: a legend names them if there are several.
      title: for those who do not see it.
      x_label: below it.
      y_label: beside it.
      across: what the axis of x shows at least, so that charts below each other can be compared.
    """
    points = [np.isfinite(curve.x) & np.isfinite(curve.y) for curve in curves]
    if not any(found.any() for found in points):
        return f'<p class="note">{escape(title)}: no finite value to draw.</p>'
    y = np.concatenate([c.y[p] for c, p in zip(curves, points, strict=True)])
    x = np.concatenate([c.x[p] for c, p in zip(curves, points, strict=True)])
    steep = bool(y.min() > 0 and y.max() >= 10 * y.min())
    x = np.concatenate([x, across or ()])
    right, up = _Axis(x, False, _LEFT, _WIDTH - _RIGHT), _Axis(y, steep, _HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(right, up, x_label, y_label)]
    for curve in sorted(curves, key=lambda curve: not curve.faint):
        parts.append(_line(curve, right, up))
    legend = "".join(f"<li>{_key(curve)}{escape(curve.name)}</li>" for curve in curves)
    drawn = (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}: the text below says the same">{"".join(parts)}</svg>'
    )
    return drawn + (f'<ul class="legend">{legend}</ul>' if len(curves) > 1 else "")


def _key(curve: Curve) -> str:
    """A piece of the line, for the legend."""
    line = f'<path class="{_style(curve)} k{curve.kind}" d="M1 5H25"/>'
    return f'<svg viewBox="0 0 26 10" aria-hidden="true">{line}</svg>'


class _Axis:
    """From values to places, and the round values between."""

    def __init__(self, values: np.ndarray, logarithmic: bool, start: float, stop: float) -> None:
        self._log = logarithmic
        low, high = float(values.min()), float(values.max())
        if logarithmic:
            low, high = math.log10(low), math.log10(high)
        room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.05
        self._low, self._high = (
            (low, high) if start < stop and high > low else (low - room, high + room)
        )
        self._start, self._stop = start, stop

    def place(self, values: np.ndarray) -> np.ndarray:
        scaled = np.log10(values) if self._log else values
        share = (scaled - self._low) / (self._high - self._low)
        return self._start + share * (self._stop - self._start)

    def ticks(self) -> list[float]:
        if self._log:
            found = [
                m * 10.0**e
                for e in range(math.floor(self._low), math.ceil(self._high) + 1)
                for m in (1, 2, 5)
                if self._low <= math.log10(m) + e <= self._high
            ]
            return found[:: max(1, len(found) // 5)]
        rough = (self._high - self._low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self._low / step)
        return [i * step for i in range(first, math.floor(self._high / step) + 1)]


def _grid(across: _Axis, up: _Axis, x_label: str, y_label: str) -> str:
    parts = []
    for tick in up.ticks():
        y = float(up.place(np.asarray(tick)))
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in across.ticks():
        x = float(across.place(np.asarray(tick)))
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:.6g}</text>'
        )
    bottom = _HEIGHT - _BOTTOM
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(12 {bottom / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _line(curve: Curve, across: _Axis, up: _Axis) -> str:
    x, y = _thin(curve.x, curve.y)
    kept = np.isfinite(x) & np.isfinite(y)
    path, open_line = [], False
    for px, py, drawn in zip(
        across.place(np.where(kept, x, 1.0)), up.place(np.where(kept, y, 1.0)), kept, strict=True
    ):
        if drawn:
            path.append(f"{'L' if open_line else 'M'}{px:.1f} {py:.1f}")
        open_line = bool(drawn)
    # A point between two gaps has no length; with round ends it is drawn as a dot.
    line = f'<path class="{_style(curve)} k{curve.kind}" d="{" ".join(path)} {_last_dot(path)}"/>'
    if not curve.dots:
        return line
    return line + "".join(
        f'<circle class="k{curve.kind}" cx="{px:.1f}" cy="{py:.1f}" r="3"/>'
        for px, py in zip(across.place(x[kept]), up.place(y[kept]), strict=True)
    )


def _style(curve: Curve) -> str:
    return "faint" if curve.faint else "line"


def _last_dot(path: list[str]) -> str:
    return "h0" if path and path[-1].startswith("M") else ""


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `_POINTS`: the ends of each group of neighbours, so that no peak is lost."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) <= _POINTS:
        return x, y
    kept: list[int] = []
    for part in np.array_split(np.arange(len(x)), _POINTS // 2):
        finite = part[np.isfinite(y[part])]
        ends = finite[[y[finite].argmin(), y[finite].argmax()]] if finite.size else part[:1]
        kept += sorted(set(ends.tolist()))
    return x[kept], y[kept]
