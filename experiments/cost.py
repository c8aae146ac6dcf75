"""What a hand-written backward costs: every layer and loss against autodiff of the best plain forward.

    python -m experiments.cost [--seconds 2] [--only relu max_pool] [--size real] [--dtype float32]

Each row runs forward and backward twice: with the hand-written backward, and with `jax.vjp` of the
plain forward that an expert would write (the row's `plain`; without one, our own forward); outside of
a loop and as the body of a `lax.scan`, which is what an epoch is. Time is hand / autodiff, median
[quartiles] over rounds in turn; scan/out is the hand-written time in the scan over its own outside;
temp is what XLA allocates for a call; cache is what forward hands to backward, the layer's own input
included; eqns counts the equations of both programs. Convolutions run on a smaller batch in the scan,
where XLA:CPU takes autodiff's gradients 20 to 170 times slower than outside, and both times of
scan/out are then of that batch. At the end: the geometric means, and every row clearly
above 1, with the reason where it is known.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.cost_rows import FAMILIES, ROWS
from experiments.cost_rows.row import Costed, Problem
from experiments.timing import Ratio, in_turn, ratio, temporary
from fnn.check.jaxprs import equations, trace

ROUNDS = 4  # steps of a scan
CLEAR = 1.05  # above this the quartiles of equal programs seldom lie
LEAST_BYTES = 4096  # temporaries below a page count as a page, so that 0 has a ratio


class Cost(NamedTuple):
    """What one row measured."""

    name: str
    outside: Ratio
    within: Ratio
    slower: float
    temp: tuple[int, int]
    cache: int
    equations: tuple[int, int]
    reason: str = ""  # of the row

    def line(self) -> str:
        """The row as the table prints it."""
        temp = "{:8.2f} /{:8.2f}".format(*(b / 1e6 for b in self.temp))
        return (
            f"{self.name:34}{self.outside!s:>20}{self.within!s:>20}{self.slower:9.2f}"
            f"{temp:>20}{self.cache / 1e6:9.2f}{'{} / {}'.format(*self.equations):>12}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="timing, for each comparison")
    parser.add_argument("--only", nargs="+", default=[""], help="rows that begin with one of these")
    parser.add_argument("--family", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--size", choices=["real", "small"], default="real")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    arguments = parser.parse_args(argv)
    rows = {
        name: row
        for family in arguments.family
        for name, row in FAMILIES[family].items()
        if name.startswith(tuple(arguments.only))
    }
    if not rows:
        parser.error(f"no row begins with {arguments.only}; there are {', '.join(ROWS)}")
    print(
        f"jax {jax.__version__} on {jax.devices()[0].device_kind}, {arguments.size} size, "
        f"{arguments.dtype}; time and temp: hand / autodiff"
    )
    print(
        f"{'':34}{'outside':>20}{'in a scan':>20}{'scan/out':>9}{'temp MB':>20}{'cache MB':>9}"
        f"{'eqns':>12}"
    )
    costs = []
    for name, row in rows.items():
        cost = measure(name, row, arguments.size, jnp.dtype(arguments.dtype), arguments.seconds)
        print(cost.line(), flush=True)
        costs.append(cost)
    print(summary(costs))


def measure(name: str, row: Costed, size: str, dtype: Any, seconds: float) -> Cost:
    """Time both programs in turn, outside and inside a scan."""
    problem, inside = (row.problem(size, dtype, in_scan=flag) for flag in (False, True))
    programs = {"hand": problem.hand, "auto": problem.auto}
    both = (problem.moving, problem.fixed)
    compiled = {n: jax.jit(f).lower(*both).compile() for n, f in programs.items()}
    alone = in_turn({n: partial(f, *both) for n, f in compiled.items()}, seconds=seconds)
    looped = {
        "hand": partial(jax.jit(in_scan(inside.hand)), inside.moving, inside.fixed),
        "auto": partial(jax.jit(in_scan(inside.auto)), inside.moving, inside.fixed),
        "alone": partial(jax.jit(inside.hand), inside.moving, inside.fixed),
    }
    within = in_turn(looped, seconds=seconds, least_rounds=3)
    return Cost(
        name,
        ratio(alone["hand"], alone["auto"]),
        ratio(within["hand"], within["auto"]),
        ratio(within["hand"] / ROUNDS, within["alone"]).median,
        (temporary(compiled["hand"]), temporary(compiled["auto"])),
        nbytes(problem.cache),
        (count(problem.hand, problem), count(problem.auto, problem)),
        row.reason,
    )


def summary(costs: Sequence[Cost]) -> str:
    """The geometric means, and what is not cheaper by hand."""
    temps = [max(c.temp[0], LEAST_BYTES) / max(c.temp[1], LEAST_BYTES) for c in costs]
    outside, within = (
        mean([c.outside.median for c in costs]),
        mean([c.within.median for c in costs]),
    )
    means = f"time outside {outside:.2f}, in a scan {within:.2f}, temp {mean(temps):.2f}"
    lines = ["", f"geometric means of {len(costs)} rows: {means}"]
    for place, of in (("outside", lambda c: c.outside), ("in a scan", lambda c: c.within)):
        slow = [
            f"{c.name} {of(c).median:.2f}{f' ({c.reason})' if c.reason else ''}"
            for c in costs
            if of(c).low > CLEAR
        ]
        lines.append(f"above {CLEAR} {place}, first quartile too: {'; '.join(slow) or 'none'}")
    return "\n".join(lines)


def mean(ratios: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def in_scan(program: Callable[..., Any]) -> Callable[..., Any]:
    """The program as the body of a loop that really depends on its results."""

    def run(moving: Any, fixed: Any) -> Any:
        def body(carry: Any, _: None) -> tuple[Any, None]:
            moving, _y = carry
            y, gradients = program(moving, fixed)
            return (jax.tree.map(lambda p, d: p - 1e-20 * d, moving, gradients), y), None

        y = jax.eval_shape(program, moving, fixed)[0]
        first = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), y)
        return jax.lax.scan(body, (moving, first), None, length=ROUNDS)[0]

    return run


def count(program: Callable[..., Any], problem: Problem) -> int:
    """The equations of a program, those of its inner programs included."""
    return sum(1 for _ in equations(trace(program, problem.moving, problem.fixed)))


def nbytes(tree: Any) -> int:
    """The bytes of a tree's arrays; a key has two words."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        total += 8 if key else leaf.size * leaf.dtype.itemsize
    return total


if __name__ == "__main__":
    main()
