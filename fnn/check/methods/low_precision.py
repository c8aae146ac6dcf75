"""Low precision against the truth: the passes in bfloat16 and float16, in units in the last place.

A backward pass that is exact in float64 can still be useless in the dtype that it is trained in: a sum
taken in bfloat16 stops growing at 256 times its terms, a square overflows float16. The point and dy are
rounded to the low dtype first, so that what is compared is the arithmetic and not the data:

    error = ‖low − truth‖ / (ε · ‖truth‖)        ε = 2^-7 for bfloat16, 2^-10 for float16

with the truth by `jax.vjp` in float64 at the rounded point. Where the problem is ill conditioned, or has
a kink nearby, no arithmetic can do better than the data allow: how far the truth moves when the point
and dy are displaced at random by their last place is measured, and added to what is tolerated.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.compare import Array, norm, ratio
from fnn.check.methods.references import auto_gradients
from fnn.check.methods.rounding import Place, Spread, on_kink, rounded
from fnn.check.points import draws
from fnn.check.precision import exact, is_real
from fnn.check.reports.report import Row, Verdict, worst_of
from fnn.check.reports.verdicts import first_line, undecided_row, words_row
from fnn.check.subject import Gradient, Subject, as_vector, hand_leaves, point, real_leaves
from fnn.check.trial import Trial, run_backward, run_forward
from fnn.layer import PyTree

ULPS = 2.0  # what a correct pass may lose besides what its data lose
CONDITION = 3.0  # tolerated displacements of the truth
DRAWS, MORE_DRAWS = 2, 16  # displaced points: as a rule, and before anything is called wrong
OTHER = 0.1  # of ‖y‖: a forward pass that draws, and is off by this, drew other numbers
ZERO = 1e-8  # a gradient below this part of gain · ‖dy‖ is zero by its structure
DTYPES = (jnp.bfloat16, jnp.float16)


def low_precision(
    given: Subject, trial: Trial, *, dtypes: Sequence[Any] = DTYPES, ulps: float = ULPS
) -> tuple[Row, ...]:
    """Every leaf's gradient in each of the dtypes, on the normal and the ones probe: one row a leaf.

        ‖low − truth‖ <= ε · ulps · ‖truth‖ + 3 · displacement + smallest normal number · √size

    The displacement is the larger of two, and before a row is wrong of sixteen more. A gradient that is
    zero by its structure (a bias before a batch norm) is measured by gain · ‖dy‖ in place of ‖truth‖,
    with the gain as in `compare`, and by the largest displacement that any other has. An element whose
    truth is beyond the dtype's range is not compared.

    ``undecided``, with the reason, where forward refuses the dtype or the point or the output is beyond
    its range, where forward draws other numbers in this dtype, or where rounding puts the point on a
    kink.

    Args:
      given: the subject before it was raised to float64, for the dtypes of its state.
      trial: its trial.
      dtypes: floating dtypes below float64.
      ulps: see above.
    """
    rows: list[Row] = []
    for dtype in dtypes:
        with exact():
            rows += _rows(given, trial, jnp.dtype(dtype), ulps)
    return tuple(rows)


def _rows(given: Subject, trial: Trial, dtype: Any, ulps: float) -> list[Row]:
    name, leaves = dtype.name, real_leaves(trial.subject)
    place = rounded(given, trial, dtype)
    largest = float(jnp.finfo(dtype).max)

    def undecided(why: str) -> list[Row]:
        return [undecided_row(name, path, why, ulps) for path, _ in leaves]

    if not _within(point(place.wide), largest):
        return undecided(f"the point is not finite or beyond the range of {name}")
    try:
        low_y, low_cache = run_forward(place.low.forward, *point(place.low))
    except (
        Exception
    ) as error:  # whatever foreign code raises for a dtype that it was not written for
        return undecided(f"the forward pass refuses {name}: {first_line(error)}")
    y, cache = run_forward(place.wide.forward, *point(place.wide))
    if not _within(y, largest):
        return undecided(f"the output is not finite or beyond the range of {name}")
    with np.errstate(invalid="ignore", over="ignore"):
        far = norm(as_vector(low_y) - as_vector(y)) > OTHER * norm(as_vector(y))
    if far and draws(place.wide.forward, *point(place.wide)):
        return undecided(
            f"another function in {name}: the forward pass draws other numbers than in float64"
        )
    dys = [
        jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), dy, low_y) for dy in place.low_dys
    ]
    try:
        low = [
            hand_leaves(
                place.low,
                Gradient(*run_backward(place.low.backward, place.low.params, low_cache, dy)),
            )
            for dy in dys
        ]
    except Exception as error:
        predicate = f"backward runs in {name}, as forward does"
        return [words_row(name, "backward", first_line(error), "no exception", predicate)]
    truth = auto_gradients(place.wide, place.wide_dys)
    spread = Spread(place, cache, trial.seed)
    rows = []
    for i, (path, _) in enumerate(leaves):
        compared = [
            row
            for k, probe in enumerate(trial.probes[: len(dys)])
            if (
                row := _row(
                    name, path, i, k, low, truth, place, spread, ulps, trial.seed, probe.name
                )
            )
        ]
        if compared:
            rows.append(worst_of(compared))
    return rows


def _row(
    name: str,
    path: str,
    i: int,
    k: int,
    low: list[list[Array | None]],
    truth: list[list[Array]],
    place: Place,
    spread: Spread,
    ulps: float,
    seed: int,
    probe: str,
) -> Row | None:
    """Leaf i on probe k; None where its gradient is missing."""
    by_hand, exactly = low[k][i], truth[k][i]
    if by_hand is None:
        return None  # `structure` says so
    limits = jnp.finfo(place.dtype)
    epsilon, smallest = float(limits.eps), float(limits.smallest_normal)
    sizes = [norm(as_vector(dy)) for dy in place.wide_dys]
    size, gain = sizes[k], _gain(truth, sizes)
    within = np.abs(exactly) <= float(limits.max)
    size_of_truth = norm(exactly[within])
    by_structure = size_of_truth <= ZERO * gain * size
    scale = gain * size if by_structure else size_of_truth
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(within, np.abs(by_hand - exactly), 0.0)
        error = ratio(norm(difference), epsilon * scale)
    for number in (DRAWS, DRAWS + MORE_DRAWS):
        moved = spread.of(number)
        displacement = moved[k][i]
        if by_structure:  # it does not move, however much all else does
            displacement = max(displacement, scale * _condition(moved, truth))
        lost = CONDITION * displacement + smallest * np.sqrt(exactly.size)
        bound = ulps + (lost / (epsilon * scale) if scale else 0.0)
        if error <= bound:
            break
    predicate = (
        f"‖{name} − float64‖ <= {bound:.1f} units in the last place of {scale:.1e}, {probe} dy"
    )
    verdict: Verdict = "ok" if error <= bound else "wrong"
    wide = spread.center[k][i]
    if verdict == "wrong" and wide is not None and on_kink(place, i, k, wide, exactly, seed):
        verdict, predicate = "undecided", f"rounded to {name} the point is on a kink"
    worst = int(np.argmax(difference)) if difference.size else 0
    index = tuple(int(j) for j in np.unravel_index(worst, exactly.shape)) if exactly.size else None
    return Row(
        method=name,
        path=path,
        relative=error,
        absolute=float(difference[index]) if exactly.size else 0.0,
        element=index,
        hand=float(by_hand[index]) if exactly.size else 0.0,
        reference=float(exactly[index]) if exactly.size else 0.0,
        tolerance=bound,
        verdict=verdict,
        predicate=predicate,
    )


def _condition(moved: list[list[float]], truth: list[list[Array]]) -> float:
    """The largest displacement of any leaf on any probe, in units of that gradient."""
    pairs = [
        (distance, norm(leaf))
        for distances, leaves in zip(moved, truth, strict=True)
        for distance, leaf in zip(distances, leaves, strict=True)
    ]
    largest = max((size for _, size in pairs), default=0.0)
    return max((d / size for d, size in pairs if size > ZERO * largest), default=0.0)


def _gain(gradients: list[list[Array]], sizes: list[float]) -> float:
    """The largest factor by which any leaf answered any probe."""
    answered = (
        ratio(norm(leaf), size)
        for leaves, size in zip(gradients, sizes, strict=True)
        for leaf in leaves
        if size > 0
    )
    return max(answered, default=0.0)


def _within(tree: PyTree, largest: float) -> bool:
    """Whether every real element is finite and at most this large."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if is_real(leaf)]
    return all(bool((np.abs(leaf) <= largest).all()) for leaf in leaves)
