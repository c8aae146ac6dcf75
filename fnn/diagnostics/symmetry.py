"""Units that are alike, and whether they stay so: a lint for parameters.

Two units of a layer that have the same weights coming in compute the same. If what reads them weighs
them alike too, they get the same gradient, and after any number of steps they are still one unit in two
places: a layer that starts with all weights equal has the power of a single unit. One of the two is not
enough. A last layer that starts at zero is harmless where the units before it differ, as each of its
weights gets a gradient of its own. So what decides is the gradient, where there is one.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from fnn.layer import PyTree
from fnn.tables import table
from fnn.tree import paths

Side = Literal["incoming", "outgoing"]
Verdict = Literal["stay alike", "no gradient", "separate", "unknown"]

_ADVICE: dict[str, str] = {
    "stay alike": "their gradients on this batch are equal too, so training does not tell them apart: "
    "start from random weights, such as initializers.he_normal",
    "no gradient": "nothing reaches them on this batch, so they stay as they are: start from random "
    "weights, and look for units that are dead or a reader that is all zero",
    "separate": "harmless: their gradients differ, so the first step tells them apart",
    "unknown": "harmless in a last layer, or where what is on their other side differs; pass gradients "
    "to be told",
}

_NO_KERNELS = {"b", "bias", "gain", "scale", "slope"}  # even with several numbers for each unit


class Finding(NamedTuple):
    """Groups of units that have equal weights on one side."""

    path: str  # of the layer, or of the array where that is all there is
    side: Side  # incoming: of the layer's own units; outgoing: of the units that it reads
    groups: tuple[tuple[int, ...], ...]  # of indices, each of two units or more
    units: int  # how many there are in all
    value: float | None  # the weight, where all of them are one number
    verdict: Verdict

    @property
    def advice(self) -> str:
        """What the verdict means, and what to do."""
        return _ADVICE[self.verdict]

    @property
    def harmless(self) -> bool:
        """Whether the gradient tells the units apart."""
        return self.verdict == "separate"

    def __str__(self) -> str:
        return f"{self.path}: {_counted(self)} have equal {self.side} weights; {self.advice}"


class SymmetryReport(NamedTuple):
    """What was found, the worst first; `str()` of it is a table and the advice.

    Attributes:
      findings: a kernel or a part of one each.
      kernels: how many were looked at.
    """

    findings: tuple[Finding, ...]
    kernels: int

    @property
    def ok(self) -> bool:
        """Whether there is nothing that is not known to be harmless."""
        return all(finding.harmless for finding in self.findings)

    def __str__(self) -> str:
        if not self.findings:
            return f"no two units alike in {self.kernels} kernels"
        lines = [[f.path, f.side, _counted(f), f.verdict] for f in self.findings]
        verdicts = dict.fromkeys(f.verdict for f in self.findings)
        return "\n".join(
            [
                *table(["layer", "weights", "alike", "verdict"], lines, left=4),
                "",
                *(f"{verdict}: {_ADVICE[verdict]}" for verdict in verdicts),
            ]
        )


def symmetry(
    params: PyTree, gradients: PyTree = None, *, tolerance: float = 1e-6
) -> SymmetryReport:
    """Units with equal weights, by path, and whether training will tell them apart.

        (_, _), gradients = value_and_grad(net, loss)(params, state, x, target)
        print(symmetry(params, gradients))

    A kernel's last axis is its units, the one before it the units that it reads, and the axes before
    those the window of a convolution. The arrays of one layer count together: units with equal weights
    and other biases are not alike, and neither are those of a recurrence with one kernel of zeros and
    one of other numbers. Biases and scales alone are no finding, as all units may share them. The
    stacked blocks of a `repeat` count as one kernel.

    Args:
      params: any tree of arrays; kernels are all `w`, and those with at least two numbers for each unit
        that are not called b, b_…, bias, gain, scale or slope: in a `repeat`, these have two axes too.
      gradients: of a loss on a batch, a tree like `params`. Without it, whether they stay is unknown.
      tolerance: of equality, relative to the largest weight or gradient of the kernel.

    Raises:
      ValueError: the gradients are of another structure or other shapes; the first path is named.
    """
    leaves, grads = dict(paths(params)), dict(paths(gradients)) if gradients is not None else None
    if grads is not None:
        _check(leaves, grads)
    layers: dict[str, list[str]] = defaultdict(list)
    for path in leaves:
        layers[path.rpartition("/")[0]].append(path)
    kernels = [path for path, leaf in leaves.items() if _is_kernel(path, leaf)]
    findings: list[Finding] = []
    for layer, own in layers.items():
        mine = [path for path in own if path in kernels]
        for units in dict.fromkeys(leaves[path].shape[-1] for path in mine):
            # Everything that the layer holds for as many units: kernels, and biases if there are any.
            alike = [path for path in own if np.shape(leaves[path])[-1:] == (units,)]
            named = layer if len(mine) == 1 and layer else " + ".join(p for p in mine if p in alike)
            findings += _found(named, "incoming", alike, leaves, grads, tolerance)
        for path in mine:
            findings += _found(path, "outgoing", [path], leaves, grads, tolerance)
    order = list(_ADVICE)
    findings.sort(key=lambda finding: order.index(finding.verdict))
    return SymmetryReport(tuple(findings), len(kernels))


def _is_kernel(path: str, leaf: Any) -> bool:
    shape = np.shape(leaf)
    if len(shape) < 2 or math.prod(shape) == 0:
        return False
    name = path.rpartition("/")[2]
    if name in _NO_KERNELS or name.startswith("b_"):
        return False
    return math.prod(shape[:-1]) > 1 or name == "w"


def _check(leaves: dict[str, Any], grads: dict[str, Any]) -> None:
    for path in [*leaves, *grads]:
        if path not in leaves or path not in grads:
            where = "parameters" if path in leaves else "gradients"
            raise ValueError(
                f"symmetry: expected gradients like params, got {path} in {where} only"
            )
        if np.shape(leaves[path]) != np.shape(grads[path]):
            raise ValueError(
                f"symmetry: {path}: expected a gradient of shape {np.shape(leaves[path])}, "
                f"got {np.shape(grads[path])}"
            )


def _rows(tree: dict[str, Any], some: list[str], side: Side) -> np.ndarray:
    """A row for each unit: all its weights."""
    axis = -1 if side == "incoming" else -2
    parts = [np.moveaxis(np.asarray(tree[path], np.float64), axis, 0) for path in some]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _found(
    name: str,
    side: Side,
    some: list[str],
    leaves: dict[str, Any],
    grads: dict[str, Any] | None,
    tolerance: float,
) -> Iterator[Finding]:
    """The groups of equal units, one finding for each verdict."""
    weights = _rows(leaves, some, side)
    groups = _equal(weights, tolerance)
    if weights.shape[1] == 1 and [len(group) for group in groups] != [len(weights)]:
        return  # of single numbers, some are equal by chance
    by_verdict: dict[Verdict, list[tuple[int, ...]]] = defaultdict(list)
    gradients = None if grads is None else _rows(grads, some, side)
    for group in groups:
        if gradients is None:
            by_verdict["unknown"].append(group)
            continue
        scale = np.abs(gradients).max()
        if not np.abs(gradients[list(group)]).max() > 0:
            by_verdict["no gradient"].append(group)
            continue
        same = _equal(gradients[list(group)], tolerance, scale)
        staying = [tuple(group[i] for i in part) for part in same]
        if staying:
            by_verdict["stay alike"] += staying
        else:
            by_verdict["separate"].append(group)
    for verdict, found in by_verdict.items():
        values = np.unique(weights[[i for group in found for i in group]])
        value = float(values[0]) if values.size == 1 else None
        yield Finding(name, side, tuple(found), len(weights), value, verdict)


def _equal(rows: np.ndarray, tolerance: float, scale: float | None = None) -> list[tuple[int, ...]]:
    """The groups, of two at least, of rows that are equal within tolerance · scale.

    Equal rows have equal products with any vector, so that only rows that are close in the order of such
    products are compared in full.
    """
    if not np.isfinite(rows).all():
        return []
    width = tolerance * (np.abs(rows).max() if scale is None else scale)
    probe = np.random.default_rng(0).uniform(-1, 1, rows.shape[1])
    products = rows @ probe
    order = np.argsort(products, kind="stable")
    groups: list[list[int]] = []
    for i in order:
        for group in reversed(groups):
            if products[i] - products[group[0]] > width * rows.shape[1]:
                groups.append([int(i)])
                break
            if np.abs(rows[i] - rows[group[0]]).max() <= width:
                group.append(int(i))
                break
        else:
            groups.append([int(i)])
    return sorted(tuple(sorted(group)) for group in groups if len(group) > 1)


def _counted(finding: Finding) -> str:
    """``all 20 units (0)``, or ``3 = 7, 4 = 9 of 20``."""
    if len(finding.groups) == 1 and len(finding.groups[0]) == finding.units:
        value = "" if finding.value is None else f" ({finding.value:g})"
        return f"all {finding.units} units{value}"
    shown = [
        " = ".join(map(str, group[:4])) + " = …" * (len(group) > 4) for group in finding.groups[:3]
    ]
    more = ", …" if len(finding.groups) > 3 else ""
    return f"{', '.join(shown)}{more} of {finding.units}"
