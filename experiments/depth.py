"""What depth costs: compile time with `repeat`, and memory with `remat`.

    python -m experiments.depth [--deep 48] [--rounds 3]

The program is forward and backward of pre-norm transformer blocks (width 64, 4 heads, 32 tokens, batch
8), in float32. First table: seconds to trace, lower and compile it, the median of rounds in turn, with
`repeat` and, for comparison, as a `chain`. Second table: megabytes of temporaries that XLA allocates for
12 blocks, and the time of a call: by hand, with and without `remat` around every block, and by `jax.vjp`
of the same forward pass, with and without `jax.checkpoint`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.timing import in_turn, ratio, temporary
from fnn import layers
from fnn.compose import chain, remat, repeat, residual
from fnn.layer import Layer, PyTree

SHAPE = (8, 32, 64)  # batch, tokens, width
SHALLOW, MIDDLE = 4, 12
Program = Callable[[PyTree, PyTree, jax.Array], PyTree]


def block() -> Layer:
    """A transformer block: attention and a two-layer network, each with its norm and its shortcut."""
    return chain(
        mix=residual(
            chain(norm=layers.layer_norm(), heads=layers.multi_head_attention(4, causal=True))
        ),
        feed=residual(
            chain(
                norm=layers.layer_norm(),
                up=layers.linear(4 * SHAPE[-1]),
                act=layers.gelu(),
                down=layers.linear(SHAPE[-1]),
            )
        ),
    )


def chained(layer: Layer, times: int) -> Layer:
    """As many blocks, each traced for itself."""
    return chain(**{f"block_{i}": layer for i in range(times)})


def by_hand(net: Layer) -> Program:
    """Forward and backward as written."""

    def run(params: PyTree, state: PyTree, x: jax.Array) -> PyTree:
        y, _, cache = net.forward(params, state, x, None)
        return net.backward(params, cache, y)

    return run


def by_autodiff(net: Layer) -> Program:
    """The same gradients from `jax.vjp`."""

    def run(params: PyTree, state: PyTree, x: jax.Array) -> PyTree:
        y, pull = jax.vjp(lambda p, x: net.forward(p, state, x, None)[0], params, x)
        return pull(y)

    return run


def scanned(layer: Layer, checkpoint: bool) -> Program:
    """`jax.vjp` of a plain scan over the blocks, as it is written without fnn."""

    def run(params: PyTree, state: PyTree, x: jax.Array) -> PyTree:
        def apply(x: jax.Array, each: PyTree) -> jax.Array:
            return layer.forward(each[0], each[1], x, None)[0]

        body = jax.checkpoint(apply, prevent_cse=False) if checkpoint else apply

        def whole(params: PyTree, x: jax.Array) -> jax.Array:
            blocks = (params["block"], state["block"])
            return jax.lax.scan(lambda x, each: (body(x, each), None), x, blocks)[0]

        y, pull = jax.vjp(whole, params, x)
        return pull(y)

    return run


def checkpointed(layer: Layer) -> Program:
    """`jax.vjp` of one block after the other, each in a `jax.checkpoint`."""

    def run(params: PyTree, state: PyTree, x: jax.Array) -> PyTree:
        def whole(params: PyTree, x: jax.Array) -> jax.Array:
            for name, p in params.items():
                x = jax.checkpoint(lambda p, x, s=state[name]: layer.forward(p, s, x, None)[0])(
                    p, x
                )
            return x

        y, pull = jax.vjp(whole, params, x)
        return pull(y)

    return run


def arguments(net: Layer) -> tuple[PyTree, PyTree, jax.ShapeDtypeStruct]:
    """Shapes alone."""
    x = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    return (*jax.eval_shape(net.init, jax.random.key(0), x), x)


def seconds(net: Layer) -> tuple[float, float]:
    """To trace and lower, and to compile."""
    given = arguments(net)
    jax.clear_caches()
    start = time.perf_counter()
    lowered = jax.jit(by_hand(net)).lower(*given)
    middle = time.perf_counter()
    lowered.compile()
    return middle - start, time.perf_counter() - middle


def compile_table(deep: int, rounds: int) -> None:
    """Seconds by depth; and the quotient of the deep and the shallow program."""
    for name, build, depths in (
        ("repeat", repeat, (SHALLOW, deep)),
        ("chain", chained, (SHALLOW, MIDDLE)),
    ):
        nets = {depth: build(block(), depth) for depth in depths}
        taken: dict[int, list[tuple[float, float]]] = {depth: [] for depth in depths}
        for _ in range(rounds):
            for depth, net in nets.items():
                taken[depth].append(seconds(net))
        for depth in depths:
            traced, compiled = np.median(taken[depth], axis=0)
            print(
                f"{name:8}{depth:4} blocks: {traced:6.2f} s to trace, {compiled:6.2f} s to compile"
            )
        sums = {depth: np.sum(taken[depth], axis=1) for depth in depths}
        print(
            f"{name:8}{depths[1]:4} / {depths[0]} blocks:{ratio(sums[depths[1]], sums[depths[0]])}"
        )


def memory_table(budget: float) -> None:
    """Temporaries of twelve blocks, and the time of a call as a multiple of the hand-written one's."""
    for title, build in (("in a loop", repeat), ("one after the other", chained)):
        plain, thrifty = build(block(), MIDDLE), build(remat(block()), MIDDLE)
        programs: dict[str, Program] = {
            "by hand": by_hand(plain),
            "by hand, remat": by_hand(thrifty),
            "jax.vjp of it": by_autodiff(plain),
        }
        if build is repeat:
            programs["jax.vjp of a scan"] = scanned(block(), checkpoint=False)
            programs["jax.vjp of a scan, checkpoint"] = scanned(block(), checkpoint=True)
        else:
            programs["jax.vjp, jax.checkpoint"] = checkpointed(block())
        params, state = plain.init(jax.random.key(0), jax.ShapeDtypeStruct(SHAPE, jnp.float32))
        x = jnp.asarray(np.random.default_rng(0).standard_normal(SHAPE), jnp.float32)
        compiled = {
            name: jax.jit(run).lower(params, state, x).compile() for name, run in programs.items()
        }

        def call(program: Any, given: tuple[Any, ...] = (params, state, x)) -> Callable[[], Any]:
            return lambda: program(*given)

        taken = in_turn({name: call(p) for name, p in compiled.items()}, seconds=budget)
        print(f"{MIDDLE} blocks {title}")
        for name, program in compiled.items():
            print(
                f"  {name:30}{temporary(program) / 1e6:8.1f} MB"
                f"{ratio(taken[name], taken['by hand'])!s:>22} of the time by hand"
            )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deep", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="timing, for each table")
    parsed = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    compile_table(parsed.deep, parsed.rounds)
    memory_table(parsed.seconds)


if __name__ == "__main__":
    main()
