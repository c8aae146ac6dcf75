"""Points at which a function may have no derivative, and what a backward pass may give there.

Backward and reverse mode are compared element by element at structured points. Where they differ, the
forward pass alone decides, by derivatives from the left and from the right (`subdifferential`). Each
element of x is a direction, and so are all those that differ taken together, which is what two equal
maxima share. A gradient that a convention may give is a ``kink``, any other one is ``wrong``.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.compare import floor_of, norm, ratio
from fnn.check.methods.convention import Convention, documented_rows
from fnn.check.methods.noise import is_noise
from fnn.check.methods.references import auto_gradients
from fnn.check.methods.subdifferential import Interval, interval_along, verdict_on
from fnn.check.points import Point, scale_of, structured_points
from fnn.check.precision import exact
from fnn.check.remembered import traced_once
from fnn.check.reports.report import Row, Verdict
from fnn.check.reports.verdicts import first_line
from fnn.check.subject import (
    Gradient,
    Vector,
    as_vector,
    hand_leaves,
    point,
    real_leaves,
    with_real_leaves,
)
from fnn.check.trial import Trial, run_backward, run_forward
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree

METHOD = "kinks"
ELEMENTS = 8  # of each leaf that differ, and are looked at from both sides
DIRECTIONS = 2  # drawn among all those that differ, besides their sum
SEVERITY: dict[Verdict, int] = {"ok": 0, "kink": 1, "undecided": 2, "wrong": 3}


def kinks(
    trial: Trial,
    *,
    tolerance: float = 1e-10,
    documented: Convention | None = None,
    points: Sequence[Point] | None = None,
) -> tuple[Row, ...]:
    """Hand against reverse mode at points where they may part: one row a leaf, its worst point.

    Args:
      trial: the subject, at any point; its normal probe is the cotangent.
      tolerance: of one element, relative to the norm of the leaf's gradient.
      documented: the convention that the author states; what departs from it is ``wrong``. A number is
        the derivative of an elementwise function at every kink; "first", "last" and "split" say
        which of several equal maxima takes the cotangent.
      points: where to look; by default `structured_points`. Where the forward pass is not finite, or
        the subject raises, a point is skipped, and the row says so.

    Raises:
      Exception: what the subject raises at the given point, if that is among `points`.
    """
    chosen = structured_points(trial) if points is None else points
    found: dict[str, list[Row]] = {path: [] for path, _ in real_leaves(trial.subject)}
    compared: list[str] = []
    infinite: list[str] = []
    refused: dict[str, str] = {}  # why, by the point's name
    for candidate in chosen:
        try:
            rows = _at(trial, candidate, tolerance)
        except Exception as error:  # whatever the subject raises where nobody asked for it
            refused[candidate.name] = _refused(trial, candidate, error)
            continue
        if rows is None:
            infinite.append(candidate.name)
            continue
        compared.append(candidate.name)
        for row in rows:
            found[row.path].append(row)
    if documented is not None:
        # At a threshold's neighbours, which may be among `points`, a difference reaches across the kink.
        at_kinks = (Point("the given point", trial.subject), *structured_points(trial))
        finite = [candidate for candidate in at_kinks if candidate.name not in refused]
        for row in documented_rows(trial, documented, finite):
            found[row.path].append(row)
    why = "".join(f"; {reason}" for reason in refused.values())
    if infinite:
        why += f"; the forward pass is not finite at {', '.join(infinite)}"
    said = f"at {', '.join(compared) or 'no point'}{why}"
    with_hand = [hand is not None for hand in hand_leaves(trial.subject, trial.hand[0])]
    return tuple(
        _worst(rows, why) if rows else _agreed(path, tolerance, said, bool(compared))
        for (path, rows), present in zip(found.items(), with_hand, strict=True)
        if present
    )


def _worst(rows: Sequence[Row], why: str) -> Row:
    """The worst row, which says besides where there was nothing to compare."""
    row = max(rows, key=lambda row: (SEVERITY[row.verdict], row.severity))
    return row._replace(predicate=row.predicate + why)


def _refused(trial: Trial, candidate: Point, error: Exception) -> str:
    """Why a point was skipped; what is raised at the given point is raised again."""
    if candidate.subject is trial.subject:
        raise error
    return f"the function cannot be evaluated at {candidate.name}: {first_line(error)}"


def _agreed(path: str, tolerance: float, where: str, decided: bool) -> Row:
    return Row(
        method=METHOD,
        path=path,
        relative=0.0,
        absolute=0.0,
        element=None,
        hand=0.0,
        reference=0.0,
        tolerance=tolerance,
        verdict="ok" if decided else "undecided",
        predicate=f"hand = reverse mode in every element, {where}",
    )


def _at(trial: Trial, candidate: Point, tolerance: float) -> list[Row] | None:
    """The leaves that differ at this point; None where the forward pass is not finite."""
    subject, dy = candidate.subject, trial.probes[0].dy
    with exact():
        y, cache = run_forward(subject.forward, *point(subject))
        if not np.isfinite(as_vector(y)).all():
            return None
        gradient = Gradient(*run_backward(subject.backward, subject.params, cache, dy))
    (reference,) = auto_gradients(subject, [dy])
    weights = as_vector(dy)
    gain = max((ratio(norm(leaf), norm(weights)) for leaf in reference), default=0.0)
    if not np.isfinite(gain):
        gain = 0.0
    floor = floor_of(weights, gain)
    by_hand = hand_leaves(subject, gradient)
    if all(
        _differs(*pair, tolerance, floor) is None for pair in zip(by_hand, reference, strict=True)
    ):
        return []
    # Where a compiled program rounds otherwise, it may take the other side of a kink than the reference,
    # which is not compiled. What differs outside of `jit` too is no matter of rounding.
    with exact():
        cotangent = jax.tree.map(jnp.asarray, dy)
        passes = subject.forward, subject.backward
        gradient = Gradient(*_not_compiled(*passes, *point(subject), cotangent))
    rows = []
    for i, hand in enumerate(hand_leaves(subject, gradient)):
        auto = reference[i]
        differs = _differs(hand, auto, tolerance, floor)
        if hand is not None and differs is not None:
            limits = _allowed(auto, tolerance, floor), tolerance
            row = _judge(trial, candidate, i, hand, auto, differs, weights, limits)
            if row.verdict == "wrong" and is_noise(trial, candidate, i, hand - auto):
                why = f"at {candidate.name}: rounding decides which derivative is taken here"
                row = row._replace(verdict="undecided", predicate=why)
            rows.append(row)
    return rows


@traced_once(2)
def _not_compiled(
    forward: ForwardFunction,
    backward: BackwardFunction,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    dy: PyTree,
) -> tuple[PyTree, PyTree]:
    _, _, cache = forward(params, state, x, key)
    return backward(params, cache, dy)


def _differs(hand: Vector | None, auto: Vector, tolerance: float, floor: float) -> Vector | None:
    """Which elements do, or None if none does; `structure` reports what is missing or misshapen."""
    if hand is None:
        return None
    with np.errstate(invalid="ignore"):
        error = np.abs(hand - auto)
    same = (error <= _allowed(auto, tolerance, floor)) | (hand == auto)
    same |= np.isnan(hand) & np.isnan(auto)
    return None if same.all() else ~same


def _allowed(auto: Vector, tolerance: float, floor: float) -> float:
    return tolerance * max(norm(auto[np.isfinite(auto)]), floor)


def _judge(
    trial: Trial,
    candidate: Point,
    i: int,
    hand: Vector,
    auto: Vector,
    differs: Vector,
    weights: Vector,
    limits: tuple[float, float],
) -> Row:
    """The worst of the elements that differ, or of their sums, by derivatives from both sides."""
    subject = candidate.subject
    leaves = [np.asarray(leaf) for _, leaf in real_leaves(subject)]
    path = real_leaves(trial.subject)[i][0]
    unit = scale_of(np.asarray(real_leaves(trial.subject)[i][1]))

    def output(leaf: Vector) -> Vector:
        moved = with_real_leaves(subject, [*leaves[:i], leaf, *leaves[i + 1 :]])
        y, _ = run_forward(subject.forward, *point(moved))
        return as_vector(y)

    def look(direction: Vector, element: tuple[int, ...] | None) -> Row:
        allowed = interval_along(output, leaves[i], direction, weights, unit)
        by_hand, by_auto = (_along(gradient, direction) for gradient in (hand, auto))
        return _row(path, candidate.name, element, by_hand, by_auto, allowed, limits)

    chosen = _elements(hand, auto, differs, (trial.seed, i))
    rows = [look(_unit(hand.shape, element), element) for element in chosen]
    if differs.sum() > 1 and all(row.verdict != "wrong" for row in rows):
        rng = np.random.default_rng((trial.seed, i, 1))
        ones = differs.astype(np.float64)
        drawn = (ones * rng.standard_normal(ones.shape) for _ in range(DIRECTIONS))
        sums = [look(direction, None) for direction in (ones, *drawn)]
        # A sum can convict, but what it excuses is said better by an element.
        rows += [row for row in sums if row.verdict == "wrong"]
    return max(rows, key=lambda row: (SEVERITY[row.verdict], row.severity))


def _elements(
    hand: Vector, auto: Vector, differs: Vector, seed: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Some of the elements that differ: half of them the worst, half drawn."""
    places = np.flatnonzero(differs)
    with np.errstate(invalid="ignore"):
        error = np.nan_to_num(np.abs(hand - auto).ravel()[places], nan=np.inf)
    worst = places[np.argsort(-error, kind="stable")]
    first, rest = worst[: ELEMENTS // 2], worst[ELEMENTS // 2 :]
    drawn = np.random.default_rng(seed).permutation(rest)[: ELEMENTS - len(first)]
    return [
        tuple(int(k) for k in np.unravel_index(place, hand.shape)) for place in (*first, *drawn)
    ]


def _unit(shape: tuple[int, ...], element: tuple[int, ...]) -> Vector:
    direction = np.zeros(shape)
    direction[element] = 1.0
    return direction


def _along(gradient: Vector, direction: Vector) -> float:
    """⟨gradient, direction⟩ over the elements that the direction meets: others may be infinite."""
    met = direction != 0
    return float(np.sum(gradient[met] * direction[met]))


def _row(
    path: str,
    where: str,
    element: tuple[int, ...] | None,
    hand: float,
    auto: float,
    interval: Interval,
    limits: tuple[float, float],
) -> Row:
    """The verdict on one value, as the module says."""
    verdict, why = verdict_on(hand, auto, interval)
    allowed, tolerance = limits
    outside = max(interval.low - hand, hand - interval.high, 0.0) if np.isfinite(hand) else np.inf
    distance = abs(hand - auto) if np.isfinite(auto) else outside
    return Row(
        method=METHOD,
        path=path,
        relative=0.0 if verdict in ("ok", "kink") else tolerance * ratio(float(distance), allowed),
        absolute=float(distance),
        element=element,
        hand=hand,
        reference=auto,
        tolerance=tolerance,
        verdict=verdict,
        predicate=f"at {where}: {why}",
    )
