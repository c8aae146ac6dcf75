"""What is wrong with a network, from its numbers: each a path, a kind, a value and what to do about it.

Limits are chosen so that sound networks, at their start and in training, pass; they are stated here, and
can be given.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from fnn.diagnostics.health_results import Health, LayerHealth
from fnn.diagnostics.updates import UpdateRatios

Kind = Literal[
    "not finite",
    "vanishing",
    "exploding",
    "fading",
    "dead",
    "saturated",
    "constant",
    "collapsed",
    "ratio too small",
    "ratio too large",
]

_ADVICE: dict[str, str] = {
    "not finite": "some numbers are infinite or NaN: train.nonfinite.first_nonfinite names the first of "
    "them; look at the data, the rate, and logarithms or roots of 0",
    "vanishing": "hardly any of the gradient comes here: start with he_normal for rectifiers or "
    "xavier_normal for tanh, put normalization or residuals between, use a rectifier for a sigmoid",
    "exploding": "the numbers grow from layer to layer: start with smaller weights, normalize, clip the "
    "gradient with clip_by_global_norm, lower the rate",
    "fading": "the signal is nearly gone: weights start too small for the depth; use he_normal or "
    "xavier_normal, or lsuv",
    "dead": "units that never fire on this batch learn nothing: lower the rate, start biases at 0, "
    "centre the data, or take leaky_relu; dead_units tells whether they fire on any example",
    "saturated": "most elements are on the flat ends, where there is no gradient: start with smaller "
    "weights, centre and scale the data, normalize before the activation",
    "constant": "all examples look alike here, so that nothing after can tell them apart: look for a "
    "bias or a mean that drowns the signal, centre the data, normalize",
    "collapsed": "the outputs lie on one line: weights may be alike (see symmetry), or one feature of "
    "the data drowns all others; two classes may end like this when they are learned",
    "ratio too small": "a step moves these parameters by less than 1e-4 of their size, where 1e-3 is "
    "sound: raise the rate, or look for what keeps the gradient from them",
    "ratio too large": "a step moves these parameters by more than 1e-2 of their size, where 1e-3 is "
    "sound: lower the rate",
}


class Limits(NamedTuple):
    """From where on something is found.

    Attributes:
      vanishing: ‖dL/dy‖ of a layer, of the largest that there is in the network.
      exploding: ‖dL/dy‖ of the last layer by a layer's, or rms(y) by the first layer's rms(x).
      fading: std(y), of the largest before it.
      dead: the share of an activation's units, if there are more than chance leaves.
      saturated: the share of an activation's elements.
      constant: √(Σ (y - ȳ)²) over √(Σ y²), deviations taken unit by unit.
      collapsed: the effective rank, of a width of 8 at least.
      ratio_low: ‖Δθ‖ / ‖θ‖.
      ratio_high: above which much is lost.
    """

    vanishing: float = 1e-4
    exploding: float = 1e3
    fading: float = 1e-4
    dead: float = 0.25
    saturated: float = 0.5
    constant: float = 1e-4
    collapsed: float = 1.2
    ratio_low: float = 1e-4
    ratio_high: float = 1e-2


_CHANCE = 3.0  # deviations: in He's networks of 20 layers, one of 50 has a layer beyond them
# By the name up to a parenthesis, activations that are 0 nowhere but far below it: their units are always
# on, so that such units are no sign of chance.
_MOSTLY_ON = frozenset(
    ("gelu", "silu", "mish", "softplus", "squareplus", "sigmoid", "hard_sigmoid", "hard_swish")
)


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
      path: of the layer, of the parameter as in hidden/w, or of the group of parameters.
      kind: its name, one of `Kind`.
      value: what was compared with the limit.
      advice: what it means, and what to do.
    """

    path: str
    kind: Kind
    value: float
    advice: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind} ({self.value:.3g}); {self.advice}"


def findings(
    health: Health, ratios: UpdateRatios | None = None, limits: Limits | None = None
) -> list[Finding]:
    """What is wrong, in the order of layers; empty for a sound network. On the host.

    Where there are numbers that are not finite, the layer that the first of them comes from stands first,
    on the way forward or back, and its advice says so.

    With `ratios` of an optimizer's updates, theirs too. The last layer may be constant, fading or
    collapsed: logits that start at 0 are sound. Of a layer that is not finite, nothing else is said.
    """
    limits = Limits() if limits is None else limits
    rows = health.rows
    found = [*_numbers(rows), *_gradients(rows, limits), *_signals(rows, limits)]
    order = {row.path: i for i, row in enumerate(rows)}
    origin, _ = _origin(rows)
    if origin >= 0:
        order[rows[origin].path] = -1
    found.sort(key=lambda finding: order[finding.path])
    return [*found, *([] if ratios is None else _ratios(ratios, limits))]


def _found(path: str, kind: Kind, value: Any) -> Finding:
    return Finding(path, kind, float(value), _ADVICE[kind])


def _numbers(rows: tuple[LayerHealth, ...]) -> Iterator[Finding]:
    origin, said = _origin(rows)
    counts = [_nonfinite(row) for row in rows]
    for i, (row, bad) in enumerate(zip(rows, counts, strict=True)):
        if i == origin:
            # What it passes back is counted where it arrives.
            count = bad or next(each for each in reversed(counts) if each)
            yield Finding(row.path, "not finite", count, f"{said}; {_ADVICE['not finite']}")
        elif bad:
            yield _found(row.path, "not finite", bad)


def _nonfinite(row: LayerHealth) -> float:
    return sum(float(each.nonfinite) for each in (row.y, row.dy, *row.gradients.values()) if each)


def _origin(rows: tuple[LayerHealth, ...]) -> tuple[int, str]:
    """The row that the first infinite or NaN number comes from, and how; (-1, "") where there is none.

    Forward, the first whose output has some. On the way back, the last whose gradients have some, if what
    it is told is finite; else the layer behind it, which tells it so: the next of those whose dL/dy is
    finite and whose dL/dx has no finite number, or the next one where dL/dx has some.
    """
    for i, row in enumerate(rows):
        if row.y is not None and row.y.nonfinite:
            return i, "the first on the way forward"
    bad = [i for i, row in enumerate(rows) if _nonfinite(row)]
    if not bad:
        return -1, ""
    last = bad[-1]
    dy = rows[last].dy
    if dy is None or not dy.nonfinite:
        return (
            last,
            "the first on the way back: what it is told is finite, and its gradients are not",
        )
    behind = range(last + 1, len(rows))
    if not behind:
        return last, "the first on the way back: it comes from the loss"
    silent = [i for i in behind if _gives_none(rows[i])]
    found = silent[0] if silent else last + 1
    return (
        found,
        "the first on the way back: what it is told is finite, and what it passes on is not",
    )


def _gives_none(row: LayerHealth) -> bool:
    return row.dy is not None and float(row.dy.norm) > 0 and math.isnan(row.backward_gain)


def _sound(row: LayerHealth) -> bool:
    return not any(each is not None and each.nonfinite for each in (row.y, row.dy))


def _gradients(rows: tuple[LayerHealth, ...], limits: Limits) -> Iterator[Finding]:
    """By norms, not by means: a pooling spreads the same gradient over more numbers."""
    told = [row for row in rows if row.dy is not None and _sound(row)]
    norms = {row.path: float(row.dy.norm) for row in told if row.dy is not None}
    if not norms or max(norms.values()) == 0:
        return
    largest, last = max(norms.values()), norms[told[-1].path]
    # Logits with a kernel of 0 pass nothing back before the first step, and are sound.
    closed = told[-1].backward_gain == 0
    for path, norm in norms.items():
        if norm < limits.vanishing * largest and not (closed and norm == 0):
            yield _found(path, "vanishing", norm / largest)
        if last > 0 and norm > limits.exploding * last:
            yield _found(path, "exploding", norm / last)


def _signals(rows: tuple[LayerHealth, ...], limits: Limits) -> Iterator[Finding]:
    largest, first = 0.0, None
    for i, row in enumerate(rows):
        if row.y is None or not _sound(row):
            continue
        last = i == len(rows) - 1
        spread, size = float(row.y.deviation), float(row.y.rms)
        if first is None and size > 0:  # what comes in, as far as the gain tells
            gain = row.forward_gain
            first = size / gain if math.isfinite(gain) and gain > 0 else size
        if first and size > limits.exploding * max(first, 1):
            yield _found(row.path, "exploding", size / first)
        if not last and spread < limits.fading * largest:
            yield _found(row.path, "fading", spread / largest)
        largest = max(largest, spread)
        yield from _units(row, limits, last)


def _units(row: LayerHealth, limits: Limits, last: bool) -> Iterator[Finding]:
    if (
        row.dead is not None
        and row.always is not None
        and _dying(row, row.dead, row.always, limits)
    ):
        yield _found(row.path, "dead", row.dead.mean())
    if row.saturated is not None and not last and row.saturated > limits.saturated:
        yield _found(row.path, "saturated", row.saturated)
    if row.rank is None or row.variation is None or last:
        return
    if row.variation < limits.constant:
        yield _found(row.path, "constant", row.variation)
    elif row.dead is not None and row.dead.all():
        return
    elif (
        row.width >= 8 and np.isfinite(row.rank.effective) and row.rank.effective < limits.collapsed
    ):
        yield _found(row.path, "collapsed", row.rank.effective)


def _dying(row: LayerHealth, dead: np.ndarray, always: np.ndarray, limits: Limits) -> bool:
    """Whether so many units are dead, and of a rectifier's more than by chance; or all of them.

    The deeper a network of rectifiers, the more alike are its examples, until each unit is either on or
    off for all of them. Fresh weights have no preferred sign, so that either is as probable: of D units
    that are always off and A that are always on, D - A has a deviation of √(D + A). Units that die
    leave none for it that are always on. Of fewer than ten units, nothing but all of them tells.
    """
    off, on = int(dead.sum()), int(always.sum())
    mostly_on = row.name.partition("(")[0] in _MOSTLY_ON
    beyond = mostly_on or off == dead.size or off - on > _CHANCE * math.sqrt(off + on)
    return off > limits.dead * dead.size and beyond


def _ratios(ratios: UpdateRatios, limits: Limits) -> Iterator[Finding]:
    for name, ratio in ratios.groups.items():
        if math.isnan(ratio):
            continue
        if ratio < limits.ratio_low:
            yield _found(name, "ratio too small", ratio)
        elif ratio > limits.ratio_high:
            yield _found(name, "ratio too large", ratio)
