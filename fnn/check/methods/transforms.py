"""The backward pass under jax's transformations: each has to change how it runs, not what it gives.

- `vmap`: a batch of probes, each with a cache of its own, against one probe after the other.
- `scan`: the probes in a loop.
- `remat`: `jax.vjp` through `jax.checkpoint` of forward and backward joined by `jax.custom_vjp`.
- `sharding`: the batch (the first axis) over several devices, params on every one.
- `retrace`: the second call with equal shapes traces nothing again (`fnn.check.methods.retrace`).

The cache crosses `jit` here as it does in a `Trial`: a forward pass compiled together with a
comparison of its own values may be another function (see `reverse`). What `jit` itself changes is
`contract.eager`'s.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn.check.compare import FLOOR, compare_arrays, floor_of, norm, ratio
from fnn.check.methods.retrace import refusal, retrace
from fnn.check.precision import exact, is_real
from fnn.check.remembered import traced_once
from fnn.check.reports.report import Row, worst_of
from fnn.check.reports.verdicts import words_row
from fnn.check.subject import Gradient, as_vector, hand_leaves, point, real_leaves, split
from fnn.check.trial import Trial, run_backward, run_forward
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree
from fnn.tree import paths

ULPS = 4096  # of float64, in the norm of a leaf: sums are taken in another order
_SAME_SHAPE = "the gradient has the tree and shapes that it has otherwise"
EPSILON = float(np.finfo(np.float64).eps)


def transforms(trial: Trial, *, ulps: float = ULPS) -> tuple[Row, ...]:
    """`loops`, `remat`, `sharding` and `retrace`, one after the other."""
    return (
        *loops(trial, ulps=ulps),
        *remat(trial, ulps=ulps),
        *sharding(trial, ulps=ulps),
        *retrace(trial),
    )


def loops(trial: Trial, *, ulps: float = ULPS) -> tuple[Row, ...]:
    """`vmap` and `lax.scan` over two probes, compiled together: one row a leaf for each of the two.

        the same bits, or ‖hand − reference‖ <= ulps · ε · max(‖reference‖, gain · ‖dy‖ / 100)

    with the reference what one call a probe gave. A backward that cannot be traced so has one row that is
    wrong, with what was raised.
    """
    probes = trial.probes[:2]
    rows = []
    with exact():
        dys = jax.tree.map(lambda *leaves: np.stack(leaves), *(probe.dy for probe in probes))
        caches = jax.tree.map(lambda leaf: _repeated(leaf, len(probes)), trial.cache)
        found = _run_loops(trial, ("vmap", "scan"), caches, dys)
    for name, gradients in found.items():
        if isinstance(gradients, Exception):
            rows.append(refusal(name, gradients))
            continue
        each = [
            Gradient(*jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], gradients))
            for k in range(len(probes))
        ]
        rows += [
            worst_of(pair)
            for pair in zip(
                *(_compare(name, trial, k, gradient, ulps) for k, gradient in enumerate(each)),
                strict=True,
            )
        ]
    return tuple(rows)


def _repeated(leaf: Any, times: int) -> Any:
    """The leaf that often along a first axis; by NumPy where it is no key, which compiles nothing."""
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jnp.stack([leaf] * times) if key else np.stack([np.asarray(leaf)] * times)


def _run_loops(
    trial: Trial, names: tuple[str, ...], caches: PyTree, dys: PyTree
) -> dict[str, PyTree | Exception]:
    """By name the stacked gradients; where the loops do not run together, each alone."""
    subject = trial.subject
    try:
        return _looped(names, subject.backward, subject.params, caches, dys)
    except Exception as error:  # whatever foreign code raises in a transformation
        if len(names) == 1:
            return {names[0]: error}
    return {
        name: found
        for each in names
        for name, found in _run_loops(trial, (each,), caches, dys).items()
    }


@partial(jax.jit, static_argnums=(0, 1))
def _looped(
    names: tuple[str, ...], backward: BackwardFunction, params: PyTree, caches: PyTree, dys: PyTree
) -> dict[str, PyTree]:
    found = {}
    if "vmap" in names:
        found["vmap"] = jax.vmap(backward, (None, 0, 0))(params, caches, dys)
    if "scan" in names:
        _, found["scan"] = lax.scan(
            lambda carry, each: (carry, backward(params, *each)), None, (caches, dys)
        )
    return found


def remat(trial: Trial, *, ulps: float = ULPS) -> tuple[Row, ...]:
    """Through `jax.checkpoint`, which runs forward a second time: one row a leaf, bound as `loops`."""
    subject = trial.subject
    with exact():
        try:
            found = _checkpointed(
                subject.forward,
                subject.backward,
                *point(subject),
                jax.device_put(trial.probes[0].dy),
            )
        except Exception as error:  # whatever foreign code raises in a transformation
            return (refusal("remat", error),)
        params, x = split(subject.params, subject.x)[1](found)
    return _compare("remat", trial, 0, Gradient(params, x), ulps)


@traced_once(2)
def _checkpointed(
    forward: ForwardFunction,
    backward: BackwardFunction,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    dy: PyTree,
) -> list[jax.Array]:
    real, merge = split(params, x)
    leaves = [(path, leaf) for path, leaf in paths(Gradient(params, x)) if is_real(leaf)]

    @jax.custom_vjp
    def run(real: list[jax.Array], state: PyTree, key: Key) -> PyTree:
        params, x = merge(real)
        return forward(params, state, x, key)[0]

    def first(real: list[jax.Array], state: PyTree, key: Key) -> tuple[PyTree, PyTree]:
        params, x = merge(real)
        y, _, cache = forward(params, state, x, key)
        return y, (params, cache)

    def second(kept: tuple[PyTree, PyTree], dy: PyTree) -> tuple[list[jax.Array], None, None]:
        gradient = dict(paths(Gradient(*backward(*kept, dy))))
        whole = [
            jnp.asarray(gradient[path], leaf.dtype)
            if path in gradient and jnp.shape(gradient[path]) == leaf.shape
            else jnp.zeros_like(leaf)  # `structure` says so
            for path, leaf in leaves
        ]
        return whole, None, None

    run.defvjp(first, second)
    _, pull_back = jax.vjp(jax.checkpoint(run), real, state, key)
    return list(pull_back(dy)[0])


def sharding(trial: Trial, *, ulps: float = ULPS) -> tuple[Row, ...]:
    """Forward and backward with the batch over several devices: one row a leaf, bound as `loops`.

    As many devices are used as divide the first axis of every real leaf of x. With one there are no rows.
    """
    subject = trial.subject
    inputs = [leaf for path, leaf in real_leaves(subject) if path.partition("/")[0] == "x"]
    devices = jax.devices()
    count = len(devices)
    while count > 1 and any(leaf.ndim == 0 or leaf.shape[0] % count for leaf in inputs):
        count -= 1
    if count == 1 or not inputs:
        return ()
    mesh = Mesh(np.array(devices[:count]), ("batch",))
    spread = NamedSharding(mesh, PartitionSpec("batch"))
    shapes = {leaf.shape for leaf in inputs}
    with exact():
        try:
            x = jax.tree.map(
                lambda leaf: jax.device_put(leaf, spread) if leaf.shape in shapes else leaf,
                subject.x,
            )
            _, cache = run_forward(subject.forward, *point(subject._replace(x=x)))
            gradient = Gradient(
                *run_backward(subject.backward, subject.params, cache, trial.probes[0].dy)
            )
        except Exception as error:  # whatever foreign code raises in a transformation
            return (refusal("sharding", error),)
    return _compare("sharding", trial, 0, gradient, ulps)


def _compare(method: str, trial: Trial, k: int, gradient: Gradient, ulps: float) -> tuple[Row, ...]:
    """A gradient on probe k against the trial's own: one row a leaf."""
    subject, probe = trial.subject, trial.probes[k]
    dy = as_vector(probe.dy)
    expected = hand_leaves(subject, trial.hand[k])
    found = hand_leaves(subject, gradient)
    gain = max((ratio(norm(leaf), norm(dy)) for leaf in expected if leaf is not None), default=0.0)
    rows = []
    for (path, _), leaf, reference in zip(real_leaves(subject), found, expected, strict=True):
        if reference is None:
            continue  # `structure` says so
        if leaf is None:
            rows.append(words_row(method, path, "another shape", "the same shape", _SAME_SHAPE))
            continue
        alike = ~np.isfinite(leaf) & ((leaf == reference) | (np.isnan(leaf) & np.isnan(reference)))
        row = compare_arrays(
            method,
            path,
            np.where(alike, 0.0, leaf),  # the same NaN is no other result
            np.where(alike, 0.0, reference),
            floor=floor_of(dy, gain) / (100 * FLOOR),
            tolerance=ulps * EPSILON,
            probe=probe.name,
        )
        asked = f"the same bits, or within {ulps:.0f} ulp of float64: {row.predicate}"
        rows.append(row._replace(predicate=asked))
    return tuple(rows)
