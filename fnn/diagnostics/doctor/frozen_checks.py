"""Which parameters stay as they are: by the optimizer, for want of a gradient, or within `frozen`."""

from fnmatch import fnmatchcase
from typing import Any

import jax
import numpy as np

from fnn.compose.frozen import FrozenState
from fnn.diagnostics.doctor.diagnosis import Verdict, ok, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.layer import PyTree
from fnn.tree import paths


def frozen_parameters(patient: Patient) -> Verdict:
    """Whether every parameter moves in a trial run, but those that are meant to stay.

    Weights within `compose.frozen` are no parameters. Loaded ones are meant to stay, and are told of.
    They are at fault where they are as `init` draws them, which two keys tell apart from what an init
    loads or computes: then a layer is frozen before it has learned anything.
    """
    name = "frozen parameters"
    run = patient.trial
    still = [
        (path, bool((pushed == 0).all()))
        for path, moved, pushed in zip(run.names, run.moved.T, run.pushed.T, strict=True)
        if (moved == 0).all()
    ]
    meant = [path for path, _ in still if _is_meant(patient, path)]
    stuck = [(path, starved) for path, starved in still if path not in meant]
    if not stuck:
        said = f"{len(run.names) - len(meant)} parameters move in {len(run.losses)} steps"
        return _within(patient, said + (f", {', '.join(meant)} are meant to stay" if meant else ""))
    kept = [path for path, starved in stuck if not starved]
    path = kept[0] if kept else stuck[0][0]
    others = f", and {len(stuck) - 1} more" if len(stuck) > 1 else ""
    if kept:
        return sick(
            name,
            "frozen parameters",
            f"{path} has a gradient and does not move in {len(run.losses)} steps{others}",
            "take it out of the group that the optimizer freezes or masks, or say that it is meant to "
            f"stay, with frozen=({path!r},); a rate of 0 does this too",
            path=path,
            value=float(len(stuck)),
        )
    return sick(
        name,
        "no gradient",
        f"{path} is told a gradient of 0 in all of {len(run.losses)} steps{others}",
        "look at what is behind it: dead units, weights of 0, a stop_gradient, a backward pass that "
        "gives 0",
        path=path,
        value=float(len(stuck)),
    )


def _is_meant(patient: Patient, path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patient.frozen)


def _within(patient: Patient, said: str) -> Verdict:
    """Of the weights within `compose.frozen`, if there are any."""
    name = "frozen parameters"
    held = _held(patient.state)
    if not held:
        return ok(name, said)
    sizes = {path: sum(leaf.size for _, leaf in leaves) for path, leaves in held.items()}
    note = "; ".join(
        f"{path or 'the network'} is in frozen: {size:,} numbers stay"
        for path, size in sizes.items()
    )
    drawn = _drawn(patient) if patient.fresh else {}
    wrong = {
        path: own
        for path, names in drawn.items()
        if (own := [each for each in names if not _is_meant(patient, each)])
    }
    if not wrong:
        return ok(name, f"{said}; {note}")
    path, names = next(iter(wrong.items()))
    return sick(
        name,
        "frozen at random",
        f"{note}, and {names[0]} is as init draws it, so that it never learns",
        "take it out of frozen(…), or give the doctor params and state with the weights that were loaded "
        f"into it; if random weights are meant, frozen=({_joined(path, '*')!r},) says so",
        path=path,
        value=float(sum(sizes[each] for each in wrong)),
    )


def _held(state: PyTree) -> dict[str, list[tuple[str, Any]]]:
    """By the path of each layer within `compose.frozen`: (path, array) of its weights."""
    return {
        path: [(_joined(path, name), leaf) for name, leaf in paths(node.params)]
        for path, node in paths(state, lambda node: isinstance(node, FrozenState))
        if isinstance(node, FrozenState)
    }


def _drawn(patient: Patient) -> dict[str, list[str]]:
    """The frozen arrays that another key draws otherwise, by the path of their layer."""
    _, other = patient.net.init(jax.random.fold_in(patient.key, 1), patient.x)
    theirs = _held(other)
    found = {
        path: [
            name
            for (name, own), (_, drawn) in zip(leaves, theirs[path], strict=True)
            if not np.array_equal(np.asarray(own), np.asarray(drawn))
        ]
        for path, leaves in _held(patient.state).items()
    }
    return {path: names for path, names in found.items() if names}


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
