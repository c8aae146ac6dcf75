"""Hard inputs: numbers and shapes at which gradients go wrong, and the three ways to one gradient.

`layer_verdicts` and `loss_verdicts` run one row of the tables at every kind of hard input and say where
the hand-written gradient, `jax.vjp` and `jax.jvp` of the plain forward differ. For the tests, and for
the table that `experiments/hard_inputs.py` prints.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import PyTree

# Each program runs a few times on a few numbers: half of its time would go into making it quick.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
FAR = 1e4
FAR_TOLERANCE = 5e-3  # float32's grid near 1e4 is 1e-3 wide, for numbers of size 1 about it


def one_element(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """One number of an array is this one."""

    def change(leaf: np.ndarray) -> np.ndarray:
        changed = leaf.copy()
        changed.reshape(-1)[leaf.size // 2 : leaf.size // 2 + 1] = value
        return changed

    return change


NUMBERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inf": one_element(np.inf),
    "-inf": one_element(-np.inf),
    "nan": one_element(np.nan),
    "subnormal": lambda leaf: leaf * np.float32(1e-40),
    "ties": lambda leaf: np.full_like(leaf, 1.5),
    "mean 1e4": lambda leaf: leaf + np.float32(FAR),
}


def hard_inputs(x: PyTree, batched: bool) -> dict[str, PyTree]:
    """Every kind of hard input that an x like this one has."""

    def numbers(change: Callable[[np.ndarray], np.ndarray]) -> PyTree:
        return jax.tree.map(lambda leaf: change(leaf) if floating(leaf) else leaf, x)

    def of_dtype(kind: type, value: int) -> PyTree:
        return jax.tree.map(
            lambda leaf: np.full_like(leaf, value) if np.issubdtype(leaf.dtype, kind) else leaf, x
        )

    kinds = {kind: numbers(change) for kind, change in NUMBERS.items()}
    leaves = jax.tree.leaves(x)
    if any(leaf.dtype == bool for leaf in leaves):
        kinds["all False"], kinds["all True"] = of_dtype(np.bool_, 0), of_dtype(np.bool_, 1)
    if any(np.issubdtype(leaf.dtype, np.integer) for leaf in leaves):
        kinds["integers 0"] = of_dtype(np.integer, 0)  # lengths of 0 among them
    if batched:
        kinds["one example"] = jax.tree.map(lambda leaf: leaf[:1], x)
        kinds["empty batch"] = jax.tree.map(lambda leaf: leaf[:0], x)
    if batched and len(times(x)) == 1:
        kinds["no time"] = without_time(x, times(x))
    return kinds


def times(x: PyTree) -> set[int]:
    """How long the sequences (or how high the images) of x are."""
    return {leaf.shape[1] for leaf in jax.tree.leaves(x) if leaf.ndim >= 3}


def without_time(tree: PyTree, long: Collection[int]) -> PyTree:
    """The same without any step: of a mask or of integers all axes of that length but the first go."""

    def cut(leaf: np.ndarray) -> np.ndarray:
        if floating(leaf):  # with two axes it is no sequence, but a carry, whatever its width
            return leaf[:, :0] if leaf.ndim >= 3 and leaf.shape[1] in long else leaf
        return leaf[(..., *(slice(0 if size in long else None) for size in leaf.shape[1:]))]

    return jax.tree.map(cut, tree)


def uneven(tree: PyTree, phase: float) -> PyTree:
    """Numbers of size 1, no two alike and none 0."""

    def leaf(like: Any) -> jax.Array:
        waves = jnp.sin(phase + 2.0 * jnp.arange(like.size, dtype=jnp.float32))
        return (waves + 0.01).reshape(like.shape).astype(like.dtype)

    return jax.tree.map(leaf, tree)


def moving(x: PyTree) -> PyTree:
    """The leaves that have a derivative; None for the others, as in dx."""
    return jax.tree.map(lambda leaf: leaf if floating(leaf) else None, x)


def with_moving(x: PyTree, leaves: PyTree) -> PyTree:
    """x with its floating leaves from `leaves`."""
    following = iter(jax.tree.leaves(leaves))
    return jax.tree.map(lambda leaf: next(following) if floating(leaf) else leaf, x)


def inner(a: PyTree, b: PyTree) -> tuple[jax.Array, jax.Array]:
    """Σ a · b, and the size of its terms, in float32."""
    products = [
        (p * q).astype(jnp.float32) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    ]
    return sum((p.sum() for p in products), jnp.float32(0)), sum(
        (jnp.abs(p).sum() for p in products), jnp.float32(0)
    )


def three_ways(
    forward: Callable[[PyTree, PyTree], PyTree],
    hand: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]],
    params: PyTree,
    x: PyTree,
) -> dict[str, Any]:
    """The gradient by hand and in reverse mode, and both sides of the identity in forward mode."""

    def plain(params: PyTree, leaves: PyTree) -> PyTree:
        return forward(params, with_moving(x, leaves))

    leaves = moving(x)
    y, pull = jax.vjp(plain, params, leaves)
    dy = uneven(y, 1.0)
    by_hand, reverse = hand(params, x, dy), pull(dy)
    identities = {}
    for name, function, at, gradient in (
        ("params", lambda p: plain(p, leaves), params, by_hand[0]),
        ("x", lambda v: plain(params, v), leaves, by_hand[1]),
    ):
        if jax.tree.leaves(at):
            tangent = uneven(at, 2.0)
            moved = jax.jvp(function, (at,), (tangent,))[1]
            identities[name] = (*inner(dy, moved), *inner(gradient, tangent))
    return {"hand": by_hand, "reverse": reverse, "forward": identities}


def disagreement(found: Mapping[str, Any], tolerance: float, small: float) -> str:
    """What differs, in words; nothing if all three agree. Below `small`, numbers are sums that cancel."""
    named = zip(("params", "x"), found["hand"], found["reverse"], strict=True)
    for name, hand, reverse in named:
        for a, b in zip(*map(jax.tree.leaves, (hand, reverse)), strict=True):
            a, b = (np.atleast_1d(np.asarray(leaf, np.float64)) for leaf in (a, b))
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            finite = np.isfinite(a) & np.isfinite(b)
            bound = tolerance * np.abs(b[finite]).max(initial=small)
            same[finite] = np.abs(a[finite] - b[finite]) <= bound
            if not same.all():
                where = tuple(int(i) for i in np.argwhere(~same)[0])
                return (
                    f"d{name}{list(where)}: by hand {a[where]:.4g}, in reverse mode {b[where]:.4g}"
                )
    for name, sums in found["forward"].items():
        forward, forward_size, hand, hand_size = (float(s) for s in sums)
        if np.isfinite(forward_size) != np.isfinite(hand_size) or (
            np.isfinite(forward_size)
            and abs(forward - hand) > 10 * tolerance * max(forward_size, hand_size, small)
        ):
            return f"along a tangent of {name}: by hand {hand:.4g}, in forward mode {forward:.4g}"
    return ""


def verdicts(
    kinds: Mapping[str, PyTree],
    run: Callable[[PyTree], Mapping[str, Any]],
    tolerance: float,
    refused: Collection[str] = (),
) -> dict[str, str]:
    """The kinds at which the three disagree, and how; those that are `refused` must be, with a reason."""
    found = {}
    for kind, x in kinds.items():
        bound = max(tolerance, FAR_TOLERANCE) if kind == "mean 1e4" else tolerance
        try:
            small = 1e-32 if kind == "subnormal" else 0.1
            words = disagreement(run(x), bound, small)
            words = "not refused, as the row says" if kind in refused else words
        except (ValueError, TypeError) as error:
            words = "" if kind in refused and "expected" in str(error) else f"{error!r}"
        if words:
            found[kind] = words
    return found


def judge(found: Mapping[str, str], stated: Mapping[str, str], kinds: Collection[str]) -> None:
    """Fail for what is not stated, and for what is stated and not so."""
    unstated = {kind: words for kind, words in found.items() if kind not in stated}
    assert not unstated, "\n".join(f"{kind}: {words}" for kind, words in unstated.items())
    assert set(stated) <= set(kinds), (
        f"`hard` names kinds that there are not: {set(stated) - set(kinds)}"
    )
    assert set(stated) <= set(found), f"`hard` excuses what agrees: {set(stated) - set(found)}"


def floating(leaf: Any) -> bool:
    """Whether a leaf has a direction; indices, lengths and masks have none."""
    return bool(jnp.issubdtype(leaf.dtype, np.floating))


def layer_verdicts(
    row: Any, rng: np.random.Generator, key: jax.Array
) -> tuple[list[str], dict[str, str]]:
    """(the kinds of a layer's row, those of them that differ and how)."""
    x, layer = row.draw(rng), row.build()
    params, state = layer.init(key, x)
    params = jax.tree.map(
        lambda p, shift: p + jnp.asarray(0.2, p.dtype) * shift, params, uneven(params, 3.0)
    )

    def hand(params: PyTree, x: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        _, _, cache = layer.forward(params, state, x, key)
        return layer.backward(params, cache, dy)

    @jit
    def run(x: PyTree) -> dict[str, Any]:
        return three_ways(lambda p, x: layer.forward(p, state, x, key)[0], hand, params, x)

    kinds = hard_inputs(x, row.batched)
    tolerance = max(row.f32_tolerance, 1e-4)
    return list(kinds), verdicts(kinds, run, tolerance, row.refused)


def loss_verdicts(row: Any, rng: np.random.Generator) -> tuple[list[str], dict[str, str]]:
    """(the kinds of a loss's row, those of them that differ and how)."""
    prediction, target, loss = row.draw(rng), row.target(rng), row.build()
    examples = {leaf.shape[0] for leaf in jax.tree.leaves((prediction, target)) if leaf.ndim}

    @jit
    def run(both: tuple[PyTree, PyTree]) -> dict[str, Any]:
        prediction, target = both

        def hand(params: PyTree, prediction: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
            _, cache = loss.forward(prediction, target)
            return params, loss.backward(cache, dy)

        return three_ways(lambda p, x: loss.forward(x, target)[0], hand, (), prediction)

    kinds = {kind: (prediction, change(target)) for kind, change in row.hard_targets.items()}
    for kind, x in hard_inputs(prediction, len(examples) == 1).items():
        fitting = first(target, jax.tree.leaves(x)[0].shape[0])
        if kind == "no time":
            fitting = without_time(target, times(prediction))
        change = row.hard_targets.get(kind, lambda target: target)
        kinds[kind] = x, change(fitting)
    return list(kinds), verdicts(kinds, run, 1e-4)


def first(tree: PyTree, n: int) -> PyTree:
    """The first n examples of every array that has them."""
    return jax.tree.map(lambda leaf: leaf[:n] if leaf.ndim else leaf, tree)
