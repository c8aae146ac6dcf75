"""Whether the hand-written backward passes are right, and where numbers that are not finite come from."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.doctor.backward_forms import differentiable
from fnn.diagnostics.doctor.diagnosis import Verdict, not_asked, ok, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.gradient import auto_value_and_grad, value_and_grad
from fnn.layer import Array, PyTree
from fnn.losses import Loss
from fnn.tap import Passage, passages
from fnn.tree import paths

# Of hand-written gradients in float64, as ‖hand - auto‖ / ‖auto‖ of a parameter. Rounding leaves 1e-12.
DISTANCE = 1e-7


class Origin(NamedTuple):
    """Where numbers that are not finite come from."""

    path: str  # of the layer; of the loss, its name
    phase: str  # forward, backward, or loss
    passage: Passage | None = None  # of the layer


def gradient(patient: Patient) -> Verdict:
    """Whether the hand-written backward passes give the gradient of the forward passes.

    On a few examples in float64, every parameter's gradient is held against `jax.vjp` of the same
    forward pass. Where they differ, `fnn.check.network` proves every layer and names the first that is
    wrong; ties and kinks, where both are right, are known to it. Where they are not finite, the layer is
    named that is told a finite gradient and passes back one that is not.
    """
    from fnn import check  # which nothing else of this package needs, and takes its time to import
    from fnn.check.precision import exact, widen

    x, target = patient.some(patient.budget.proof)
    with exact():
        given = widen((patient.params, patient.state, x, target))
        hand, auto = (
            jax.jit(derive(patient.net, patient.loss))(*given, patient.key)[1]
            for derive in (value_and_grad, auto_value_and_grad)
        )
        if not _finite(hand):
            params, state, *some = given
            seen = passages(patient.net, patient.loss, params, state, some[0], some[1], patient.key)
            return _not_finite(origin(seen, patient.loss), patient)
        worst, path = _worst(hand, auto)
    if worst <= DISTANCE:
        return ok("gradient", f"hand-written and jax.vjp agree to {worst:.1e}", worst)
    report = check.network(
        patient.net,
        patient.loss,
        x,
        target,
        params=patient.params,
        state=patient.state,
        key=patient.key,
    )
    if report.ok:
        return ok("gradient", f"every layer is right; at kinks, sides differ by {worst:.1e}", worst)
    where, row = report.worst
    return sick(
        "gradient",
        "wrong backward",
        f"dL/d{path} is off by {worst:.1e} of its norm from jax.vjp of the forward pass; {row}",
        f"mend the backward pass of {where}, and prove it with check.layer",
        path=where,
        value=worst,
    )


def _worst(hand: PyTree, auto: PyTree) -> tuple[float, str]:
    """The largest distance of a parameter's gradients, relative to its norm and that of the largest."""
    found = [(0.0, "")]
    norms = [float(jnp.linalg.norm(leaf.reshape(-1))) for _, leaf in paths(auto)]
    # A gradient that is 0 but for rounding, as that of a bias before batch norm, is held against others.
    least = 1e-6 * max(norms, default=0.0)
    for (path, ours), (_, theirs), norm in zip(paths(hand), paths(auto), norms, strict=True):
        distance = float(jnp.linalg.norm((ours - theirs).reshape(-1)))
        scale = max(norm, least)
        found.append((distance / scale if scale > 0 else distance, path))
    return max(found, key=lambda each: math.inf if math.isnan(each[0]) else each[0])


def origin(seen: dict[str, Passage], loss: Loss) -> Origin:
    """Where the first number that is not finite comes from: forward, in the loss, or on the way back.

    Of a pass whose gradients are not all finite. Forward, it is the first layer whose output is not; on
    the way back, the last whose gradients are not, although what it is told is.
    """
    for path, each in seen.items():
        if not _finite(each.y):
            return Origin(path, "forward", each)
    for path, each in reversed(seen.items()):
        if _finite(each.dy) and not _finite((each.dparams, each.dx)):
            return Origin(path, "backward", each)
    return Origin(loss.name, "loss")


def _not_finite(found: Origin, patient: Patient) -> Verdict:
    if found.phase == "forward":
        return not_asked("gradient", f"{found.path} gives numbers that are not finite: see signals")
    passage = found.passage
    if passage is None:
        return sick(
            "gradient",
            "gradient not finite",
            "what the loss gives back for a finite prediction is infinite or NaN",
            "look at logarithms and roots of 0 in the loss, and prove it with check.loss",
            path=found.path,
        )
    derived = _finite(_derived(passage))
    bad = {n: _bad(tree) for n, tree in (("dparams", passage.dparams), ("dx", passage.dx))}
    said = " and ".join(f"{count} numbers of {name}" for name, count in bad.items() if count)
    said = f"what it is told is finite, and {said} are infinite or NaN"
    if derived:
        return sick(
            "gradient",
            "wrong backward",
            f"{said}; those of jax.vjp are finite",
            f"mend the backward pass of {found.path}: look for a division by 0, and prove it with "
            "check.layer",
            path=found.path,
            value=float(sum(bad.values())),
        )
    return sick(
        "gradient",
        "gradient not finite",
        f"{said}; so are those of jax.vjp of its forward pass",
        "its derivative is infinite here, as that of a root, a logarithm or a norm at 0: add a small "
        "number within it, or keep its input from 0",
        path=found.path,
        value=float(sum(bad.values())),
    )


def _derived(passage: Passage) -> PyTree:
    """The gradients of the layer by `jax.vjp` of its forward pass, at what it saw."""
    both = (passage.params, passage.x)
    parts, tree = jax.tree.leaves(both), jax.tree.structure(both)
    places = [i for i, leaf in enumerate(parts) if differentiable(leaf)]

    def output(chosen: list[Array]) -> PyTree:
        own = list(parts)
        for i, leaf in zip(places, chosen, strict=True):
            own[i] = leaf
        params, x = jax.tree.unflatten(tree, own)
        return passage.layer.forward(params, passage.state, x, passage.key)[0]

    y, pull = jax.vjp(output, [parts[i] for i in places])
    return pull(jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), passage.dy, y))


def _bad(tree: PyTree) -> int:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if differentiable(leaf)]
    return sum(int((~np.isfinite(leaf)).sum()) for leaf in leaves)


def _finite(tree: PyTree) -> bool:
    return _bad(tree) == 0
