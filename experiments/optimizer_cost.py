"""What an optimizer's step costs: every optimizer of fnn, in turn with optax's where it has the same one.

    python -m experiments.optimizer_cost [--only adam lion] [--seconds 5] [--compiles 1] [--region both]

The parameters are 300 leaves of 10 M numbers in float32: kernels, biases and norms of twenty transformer
blocks and twenty convolutions. A step is `update` and `apply_updates` in one program to which parameters
and state are donated, for both libraries alike. Time is fnn / optax, median [quartiles] over rounds in
turn; GB/s is what fnn's step must at least read and write (its arguments and its results, once each) over
its time; temp is what XLA allocates for a call; held is temp, arguments and results together, shared
buffers counted once; eqns counts the equations that are traced; build is the seconds to trace, lower and
compile, fnn / optax. At the end: the geometric means, every row above 1, and how many programs sixteen
learning rates take.

Arguments and results come in one order (parameters, then state), and that matters: JAX pairs donated
arguments with results of the same shape in the order in which they come. A step that takes (gradients,
state, parameters) and returns (parameters, state) writes parameters where a moment was, so XLA copies all
of them; `--order` shows what that costs. XLA:CPU also copies a moment that two loops read if one of them
writes it (Lion's, AdaBelief's), unless it is compiled with the option of `--region`.
"""

# Two cores, jax 0.10.2, optax 0.2.8, `--seconds 2`. Most steps are the same loops over the same memory in
# both libraries: of 30 rows with a peer, 24 lie between 0.93 and 1.05, sgd 1.01, adam 0.98 [0.90-1.09],
# adamw 0.99, lion 1.00, radam 1.03. Where fnn makes fewer temporaries it is faster: lars 0.57, adadelta
# 0.69, muon 0.69 (whose peer has no kernels of convolutions among its matrices), lamb 0.70, adafactor
# 0.89. Geometric mean 0.94. Traced equations: adam 4515 / 4809, lamb 9815 / 16809, but sgd 900 / 600 and
# rmsprop 4200 / 3000. Adam at sixteen rates: 1 program, 0.5 s; optax 16 programs, 6.8 s. On a busy
# machine: results in another order than the arguments 4.98 [4.04-6.57] times as long; `--region fnn`:
# lion 0.33 [0.27-0.47], optax without it.

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.optimizer_programs import REGION, Program, copy, step, tree
from experiments.timing import Ratio, in_turn, ratio, step_memory, temporary
from fnn import optimizers
from fnn.extras import require
from fnn.layer import PyTree
from tests.tables.optimizers import OPTIMIZERS
from tests.tables.rows import OptimizerRow

CLEAR = 1.05  # above this the quartiles of equal programs seldom lie


class Cost(NamedTuple):
    """What one row measured: fnn's number and, where there is a peer, optax's."""

    name: str
    milliseconds: float
    gigabytes: float  # read and written a second
    taken: Ratio | None
    temp: tuple[int, ...]
    held: tuple[int, ...]
    equations: tuple[int, ...]
    build: tuple[float, ...]  # seconds

    def line(self) -> str:
        """The row as the table prints it."""
        taken = "no peer" if self.taken is None else str(self.taken)
        return (
            f"{self.name:38}{self.milliseconds:9.2f}{self.gigabytes:7.1f}{taken:>20}"
            f"{_both([b / 1e6 for b in self.temp], '.1f'):>16}"
            f"{_both([b / 1e6 for b in self.held], '.1f'):>16}"
            f"{_both(self.equations, 'd'):>14}{_both(self.build, '.2f'):>14}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="timing, for each comparison")
    parser.add_argument("--compiles", type=int, default=1, help="how often each is built")
    parser.add_argument("--only", nargs="+", default=[""], help="rows that begin with one of these")
    parser.add_argument("--size", choices=["real", "small"], default="real")
    parser.add_argument(
        "--region",
        choices=["neither", "fnn", "both"],
        default="neither",
        help=f"which steps to compile with {REGION}",
    )
    parser.add_argument("--sweep", type=int, default=16, help="rates of the sweep")
    parser.add_argument("--order", action="store_true", help="only: what a wrong order costs")
    arguments = parser.parse_args(argv)
    chosen = {n: row for n, row in rows().items() if n.startswith(tuple(arguments.only))}
    if not chosen:
        parser.error(f"no row begins with {arguments.only}; there are {'; '.join(rows())}")
    params, grads = (tree(arguments.size, seed) for seed in (0, 1))
    count = sum(leaf.size for leaf in params.values())
    print(
        f"jax {jax.__version__} on {jax.devices()[0].device_kind}, optax "
        f"{require('optax', 'experiments').__version__}; {len(params)} leaves, {count:,} parameters; "
        "fnn / optax"
    )
    if arguments.order:
        print(order(params, grads, arguments.seconds))
        return
    print(
        f"{'':38}{'ms':>9}{'GB/s':>7}{'time':>20}{'temp MB':>16}{'held MB':>16}{'eqns':>14}"
        f"{'build s':>14}"
    )
    costs = []
    for name, row in chosen.items():
        cost = measure(
            name, row, params, grads, arguments.seconds, arguments.compiles, arguments.region
        )
        print(cost.line(), flush=True)
        costs.append(cost)
    print(summary(costs))
    print(sweeps(np.geomspace(1e-4, 1e-1, arguments.sweep)))


def rows() -> dict[str, OptimizerRow]:
    """One row for every optimizer, and those of its dialects that optax has too."""
    kept: dict[str, OptimizerRow] = {}
    for name, row in OPTIMIZERS.items():
        first = row.build not in [other.build for other in kept.values()]
        if row.peer is not None or first:
            kept[name] = row
    return kept


def measure(
    name: str,
    row: OptimizerRow,
    params: PyTree,
    grads: PyTree,
    seconds: float,
    compiles: int,
    region: str,
) -> Cost:
    """Build and run both in turn."""
    both = {"fnn": row.optimizer()}
    if row.peer is not None:
        both["optax"] = row.peer(row.rate, **row.hyperparameters)
    build: dict[str, list[float]] = {library: [] for library in both}
    programs: dict[str, Program] = {}
    for turn in range(compiles):
        for library in sorted(both, reverse=bool(turn % 2)):
            jax.clear_caches()
            by_region = region in (library, "both")
            programs[library] = Program(both[library], params, grads, by_region=by_region)
            build[library].append(programs[library].seconds)
    taken = in_turn(programs, seconds=seconds, least_rounds=5)
    once = float(np.median(taken["fnn"]))
    return Cost(
        name,
        once * 1e3,
        programs["fnn"].moved / once / 1e9,
        ratio(taken["fnn"], taken["optax"]) if "optax" in taken else None,
        tuple(temporary(programs[library].compiled) for library in both),
        tuple(step_memory(programs[library].compiled) for library in both),
        tuple(programs[library].equations for library in both),
        tuple(float(np.median(build[library])) for library in both),
    )


def summary(costs: Sequence[Cost]) -> str:
    """The geometric means over the optimizers that both libraries have, and what is slower or larger."""
    shared = [(c, c.taken) for c in costs if c.taken is not None]
    if not shared:
        return "\nno optimizer of both libraries"
    slow = [f"{c.name} {taken.median:.2f}" for c, taken in shared if taken.low > CLEAR]
    large = [
        f"{c.name} {c.held[0] / c.held[1]:.2f}" for c, _ in shared if c.held[0] > CLEAR * c.held[1]
    ]
    means = {
        "time": [taken.median for _, taken in shared],
        "held": [c.held[0] / c.held[1] for c, _ in shared],
        "eqns": [c.equations[0] / c.equations[1] for c, _ in shared],
        "build": [c.build[0] / c.build[1] for c, _ in shared],
    }
    said = ", ".join(f"{what} {mean(values):.2f}" for what, values in means.items())
    return "\n".join(
        [
            "",
            f"geometric means of {len(shared)} shared optimizers: {said}",
            f"above {CLEAR} in time, first quartile too: {', '.join(slow) or 'none'}",
            f"above {CLEAR} in memory held: {', '.join(large) or 'none'}",
        ]
    )


def sweeps(rates: np.ndarray) -> str:
    """How many programs a sweep of the learning rate takes, and how long."""
    params, grads = tree("small", 0), tree("small", 1)
    optax = require("optax", "test")
    traced = {"fnn": 0, "optax": 0}

    def counted(library: str, optimizer: Any) -> Callable[..., Any]:
        def run(params: PyTree, state: PyTree, grads: PyTree) -> tuple[PyTree, PyTree]:
            traced[library] += 1
            return step(optimizer)(params, state, grads)

        return jax.jit(run)

    ours = optimizers.adam(1e-3)
    one = counted("fnn", ours)
    start = time.perf_counter()
    for rate in rates:
        state = optimizers.with_hyperparameters(ours.init(params), rate=float(rate))
        jax.block_until_ready(one(params, state, grads))
    middle = time.perf_counter()
    for rate in rates:
        theirs = optax.adam(float(rate))
        jax.block_until_ready(counted("optax", theirs)(params, theirs.init(params), grads))
    end = time.perf_counter()
    return (
        f"adam at {len(rates)} rates, {len(params)} leaves: fnn {traced['fnn']} program, "
        f"{middle - start:.2f} s; optax {traced['optax']} programs, {end - middle:.2f} s "
        "(one with inject_hyperparams)"
    )


def order(params: PyTree, grads: PyTree, seconds: float) -> str:
    """Adam's step with results in the arguments' order, and in another."""
    straight = Program(optimizers.adam(1e-3), params, grads)

    def crossed(state: PyTree, params: PyTree, grads: PyTree) -> tuple[PyTree, PyTree]:
        return step(optimizers.adam(1e-3))(params, state, grads)

    params, state = copy(straight.carried)
    compiled = jax.jit(crossed, donate_argnums=(0, 1)).lower(state, params, grads).compile()
    carried = [state, params]

    def run() -> PyTree:
        carried[1], carried[0] = compiled(*carried, grads)
        return carried

    taken = in_turn({"crossed": run, "straight": straight}, seconds=seconds)
    return (
        f"adam, (state, params) -> (params, state) / one order: time "
        f"{ratio(taken['crossed'], taken['straight'])}; temp "
        f"{temporary(compiled) / 1e6:.1f} / {temporary(straight.compiled) / 1e6:.1f} MB"
    )


def mean(ratios: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _both(values: Sequence[float], how: str) -> str:
    return " /".join(f"{value:{how}}" for value in values)


if __name__ == "__main__":
    main()
