"""Hard inputs: fnn at all of them, and what the JAX libraries of today make of a few.

    python -m experiments.hard_inputs [--only batch_norm relu] [--no-table]

First the claims, each beside the peers that are installed (flax, haiku, equinox, optax; jax always is):
normalization of numbers far from 0, logits of -∞, labels out of range, logits that saturate a softmax,
and the gradient at ties. Then the table: every row of the tests at every kind of hard input; "=" where
the hand-written gradient, reverse mode and forward mode agree, NaN and infinities included; "*" where
the row says why its answer differs from autodiff's; "≠" elsewhere, and the exit status is 1.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import layers, losses
from tests.hard import layer_verdicts, loss_verdicts
from tests.tables import LAYERS, LOSSES

Claim = tuple[str, str, str]  # what was asked, who, the answer
FAR = 1e4


def main(argv: Sequence[str] | None = None) -> int:
    """Print both parts; 1 if a row disagrees and does not say why."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="rows that begin with one of these")
    parser.add_argument("--no-table", action="store_true", help="print the claims alone")
    arguments = parser.parse_args(argv)
    asked = ""
    for claims in (normalizations, minus_infinity, labels_out_of_range, saturated, ties):
        for question, who, answer in claims():
            if question != asked:
                print(f"\n{question}")
                asked = question
            print(f"    {who:44}{answer}")
    return 0 if arguments.no_table else table(tuple(arguments.only))


def table(only: tuple[str, ...]) -> int:
    """Print a line for each row; 1 if one disagrees and does not say why."""
    wrong = 0
    key = jax.random.key(0)
    rows: dict[str, tuple[Callable[[], Any], Any]] = {}
    for name, layer in LAYERS.items():
        rows[name] = partial(layer_verdicts, layer, np.random.default_rng(0), key), layer.hard
    for name, loss in LOSSES.items():
        rows[name] = partial(loss_verdicts, loss, np.random.default_rng(0)), loss.hard
    print("\nby hand, in reverse and in forward mode: = agree, * differ as the row says, ≠ differ")
    for name, (run, stated) in rows.items():
        if not name.startswith(only):
            continue
        kinds, found = run()
        marks = {
            kind: "=" if kind not in found else "*" if kind in stated else "≠" for kind in kinds
        }
        wrong += "≠" in marks.values()
        print(f"{name:48}{'  '.join(f'{mark} {kind}' for kind, mark in marks.items())}", flush=True)
        for kind, words in found.items():
            print(f"    {kind}: {stated.get(kind, words)}")
    return int(wrong > 0)


def peer(name: str) -> Any:
    """A package, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def normalizations() -> Iterator[Claim]:
    """How far an output is from that of the float64 formula on the same float32 numbers."""
    x = jnp.asarray(FAR + np.random.default_rng(0).normal(size=(512, 64)), jnp.float32)
    for axis, forms in ((0, _batch_norms(x)), (1, _layer_norms(x))):
        wide = np.asarray(x, np.float64)
        centred = wide - wide.mean(axis, keepdims=True)
        expected = centred / np.sqrt(wide.var(axis, keepdims=True) + 1e-5)
        kind = "batch" if axis == 0 else "layer"
        question = f"{kind} norm of {FAR:g} + N(0, 1) in float32: the largest error; the std of y"
        for who, y in forms:
            y = np.asarray(y, np.float64)
            std = y.std(axis)
            answer = f"{np.abs(y - expected).max():.1e}; {std.min():.4g} to {std.max():.4g}"
            yield question, who, answer


def _batch_norms(x: jax.Array) -> Iterator[tuple[str, Any]]:
    layer = layers.batch_norm()
    params, state = layer.init(None, x)
    yield "fnn", layer.forward(params, state, x, None)[0]
    if flax := peer("flax.linen"):
        for fast in (True, False):
            module = flax.BatchNorm(use_running_average=False, use_fast_variance=fast)
            variables = module.init(jax.random.key(0), x)
            y, _ = module.apply(variables, x, mutable=["batch_stats"])
            yield f"flax.linen, use_fast_variance={fast}", y
    if haiku := peer("haiku"):
        net = haiku.transform_with_state(
            lambda x: haiku.BatchNorm(True, True, 0.9)(x, is_training=True)
        )
        yield "haiku", net.apply(*net.init(jax.random.key(0), x), None, x)[0]
    if equinox := peer("equinox"):
        module, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(
            x.shape[1], "batch", mode="batch"
        )
        over_batch = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        yield "equinox", over_batch(x, state)[0]


def _layer_norms(x: jax.Array) -> Iterator[tuple[str, Any]]:
    layer = layers.layer_norm()
    params, state = layer.init(None, x)
    yield "fnn", layer.forward(params, state, x, None)[0]
    if flax := peer("flax.linen"):
        for fast in (True, False):
            module = flax.LayerNorm(epsilon=1e-5, use_fast_variance=fast)
            yield (
                f"flax.linen, use_fast_variance={fast}",
                module.apply(module.init(jax.random.key(0), x), x),
            )
    if haiku := peer("haiku"):
        net = haiku.transform(lambda x: haiku.LayerNorm(-1, True, True)(x))
        yield "haiku", net.apply(net.init(jax.random.key(0), x), None, x)
    if equinox := peer("equinox"):
        yield "equinox", jax.vmap(equinox.nn.LayerNorm(x.shape[1]))(x)


def minus_infinity() -> Iterator[Claim]:
    """A class that cannot be, and is not the label."""
    logits, target = jnp.asarray([[-jnp.inf, 0.0, 0.0]]), jnp.asarray([[0.0, 1.0, 0.0]])
    loss = losses.softmax_cross_entropy()

    def ours(logits: jax.Array) -> jax.Array:
        return loss.forward(logits, target)[0]

    question = "softmax cross-entropy at logits (-∞, 0, 0), label 1: value; gradient; jvp along 1"
    value, cache = loss.forward(logits, target)
    by_hand = _numbers(loss.backward(cache, jnp.ones(1)))
    yield question, "fnn, by hand", f"{_numbers(value)}; {by_hand}"
    functions: dict[str, Callable[[jax.Array], jax.Array]] = {"fnn": ours}
    if optax := peer("optax"):
        for name in ("safe_softmax_cross_entropy", "softmax_cross_entropy"):
            functions[f"optax.{name}"] = partial(getattr(optax, name), labels=target)
    for who, function in functions.items():
        value, pull = jax.vjp(function, logits)
        moved = jax.jvp(function, (logits,), (jnp.ones_like(logits),))[1]
        answer = f"{_numbers(value)}; {_numbers(pull(jnp.ones(1))[0])}; {_numbers(moved)}"
        yield question, who, answer


def labels_out_of_range() -> Iterator[Claim]:
    """A label that names no class."""
    logits = jnp.asarray([[0.5, 0.0, -0.5]])
    loss = losses.softmax_cross_entropy()
    for label in (7, -1):
        question = f"label {label} of 3 classes: value; gradient"
        target = jnp.asarray([label], jnp.int32)
        try:
            loss.forward(logits, target)
        except ValueError as error:
            yield question, "fnn", f"ValueError: {error}"

        @jax.jit
        def ours(logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
            value, cache = loss.forward(logits, target)
            return value, loss.backward(cache, jnp.ones(1))

        value, gradient = ours(logits, target)
        yield question, "fnn, inside jit", f"{_numbers(value)}; {_numbers(gradient)}"
        if optax := peer("optax"):
            function = partial(optax.softmax_cross_entropy_with_integer_labels, labels=target)
            value, pull = jax.vjp(function, logits)
            answer = f"{_numbers(value)}; {_numbers(pull(jnp.ones(1))[0])}"
            yield question, "optax, with_integer_labels", answer


def saturated() -> Iterator[Claim]:
    """The logarithm of a softmax that has underflowed."""
    logits, label = jnp.asarray([[200.0, 0.0, -200.0]]), jnp.asarray([2], jnp.int32)
    question = "logits (200, 0, -200), label 2: value; gradient"
    loss = losses.softmax_cross_entropy()
    value, cache = loss.forward(logits, label)
    yield question, "fnn", f"{_numbers(value)}; {_numbers(loss.backward(cache, jnp.ones(1)))}"
    value, pull = jax.vjp(lambda z: -jnp.log(jax.nn.softmax(z))[:, 2], logits)
    yield question, "-log(jax.nn.softmax)", f"{_numbers(value)}; {_numbers(pull(jnp.ones(1))[0])}"


def ties() -> Iterator[Claim]:
    """Where a maximum has no derivative."""
    zero, equal = jnp.zeros(1), jnp.asarray([2.0, 2.0, 1.0])
    question = "gradient of max(x, 0) at 0"
    yield question, "fnn.layers.relu", _numbers(_gradient(layers.relu(), zero))
    yield question, "jax.nn.relu", _numbers(jax.grad(lambda x: jax.nn.relu(x).sum())(zero))
    yield question, "jnp.maximum", _numbers(jax.grad(lambda x: jnp.maximum(x, 0).sum())(zero))
    question = "gradient of max (2, 2, 1)"
    for policy in ("first", "split"):
        gradient = _gradient(layers.max_over(ties=policy), equal)
        yield question, f'fnn.layers.max_over(ties="{policy}")', _numbers(gradient)
    yield question, "jnp.max", _numbers(jax.grad(jnp.max)(equal))


def _gradient(layer: Any, x: jax.Array) -> jax.Array:
    """dx by hand, for dy of ones."""
    y, _, cache = layer.forward((), (), x, None)
    return layer.backward((), cache, jnp.ones_like(y))[1]


def _numbers(array: Any) -> str:
    return " ".join(f"{number:.4g}" for number in np.ravel(array))


if __name__ == "__main__":
    sys.exit(main())
