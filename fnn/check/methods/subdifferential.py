"""What a gradient may be at a point without a derivative, by the forward pass alone.

Along a direction d, with L and R the left and the right derivative of each output i, and a cotangent dy,

    Σ_i min(dy_i L_i, dy_i R_i)  <=  ⟨gradient, d⟩  <=  Σ_i max(dy_i L_i, dy_i R_i)

holds for every convention that gives each output one of its own subgradients. Where the two ends are one
number, the function is differentiable along d. The generalized gradient is Clarke's (1975).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fnn.check.methods.one_sided import one_sided
from fnn.check.reports.report import Verdict
from fnn.check.subject import Vector

SAFETY = 3.0  # tolerated errors of a difference, in units of its own estimate
HUGE = 1e8  # a gradient, where reverse mode has none and differences have no limit
RELATIVE = 1e-6  # what a difference is good for at best


class Interval(NamedTuple):
    """What ⟨gradient, d⟩ may be, by the forward pass alone."""

    low: float
    high: float
    noise: float  # the error of either end, by the differences' own estimate
    magnitude: float  # of the terms that are summed

    @property
    def slack(self) -> float:
        """What is forgiven at either end."""
        return self.noise + RELATIVE * self.magnitude

    def holds(self, value: float) -> bool:
        """Whether it may be this value; no for a NaN."""
        return self.low - self.slack <= value <= self.high + self.slack

    def __str__(self) -> str:
        return f"[{self.low:.6g}, {self.high:.6g}] ± {self.slack:.0e}"


def interval_along(
    output: Callable[[Vector], Vector],
    leaf: Vector,
    direction: Vector,
    weights: Vector,
    unit: float,
) -> Interval:
    """The interval of ⟨gradient, direction⟩ at `leaf`, for the cotangent `weights`."""
    left, right, error = one_sided(output, leaf, direction, scale=unit)
    met = weights != 0  # a 0 · inf would be a NaN
    left, right, error, dy = left[met], right[met], error[met], weights[met]
    low, high = np.minimum(dy * left, dy * right), np.maximum(dy * left, dy * right)
    size = np.abs(dy) * np.maximum(np.abs(left), np.abs(right))
    return Interval(
        float(low.sum()),
        float(high.sum()),
        SAFETY * float((np.abs(dy) * error).sum()),
        float(size.sum()),
    )


def verdict_on(hand: float, auto: float, interval: Interval) -> tuple[Verdict, str]:
    """Of a value that differs from that of reverse mode, and why.

    ``kink`` within an interval that is no single number, ``wrong`` outside of it; ``undecided`` where
    that of reverse mode lies outside too, as where kinks of two parts meet, or where differences have
    no limit; ``ok`` where the function is differentiable and only reverse mode is not right.
    """
    gap = abs(hand - auto)
    ends = f"left and right derivative span {interval}"
    if not np.isfinite(hand) and np.isfinite(auto):
        return "wrong", "the gradient is not finite where that of reverse mode is"
    if not np.isfinite(interval.noise):
        return "undecided", "the function jumps or ends here, so that differences have no limit"
    kinked = interval.high - interval.low > interval.slack
    if not np.isfinite(auto) and not np.isfinite(hand):
        return "undecided", f"{ends}; neither gradient is finite"
    outside = max(interval.low - hand, hand - interval.high)
    vague = interval.noise >= 0.1 * interval.magnitude
    if not np.isfinite(auto) and vague and (outside <= 10 * interval.noise or abs(hand) > HUGE):
        return "undecided", (
            "differences have no limit here: by their own estimate they are wrong by "
            f"{interval.noise:.1e} where they are {interval.magnitude:.1e}"
        )
    if not interval.holds(hand):
        if np.isfinite(auto) and not interval.holds(auto):
            return "undecided", f"{ends}; the value of reverse mode lies outside as well"
        return "wrong", f"{ends}, and the gradient lies outside"
    if kinked:
        return "kink", (
            f"not differentiable here; {ends}; convention = {hand:.6g}, that of autodiff {auto:.6g}"
        )
    if not interval.holds(auto):
        return "ok", f"{ends}, which autodiff misses: its value is {auto:.6g}"
    if interval.noise > 0.1 * gap:
        return "undecided", f"{ends}: too wide to tell {hand:.17g} from {auto:.17g}"
    return "wrong", f"differentiable here, and not as reverse mode says; {ends}"
