"""The rules of a function itself: the value that its forward rule returns, and its forward mode.

- `value`: f(x), the y that `jax.vjp(f)` returns and the reference's are the same. A `custom_vjp` whose
  forward rule computes something else trains on a function that nobody evaluates.
- `forward_rule`: J t by `jax.jvp` of f itself is that of the reference. Reverse mode can be right where
  forward mode is not: the two are different programs, and a NaN may lie in one of them alone.
"""

from typing import Any

import jax
import numpy as np

from fnn.check.compare import FLOOR, LEAST_GAIN, compare_arrays, norm
from fnn.check.functions.binding import Binding, jvp, vjp
from fnn.check.methods.contract import without_common
from fnn.check.precision import is_real
from fnn.check.probes import direction
from fnn.check.remembered import traced_once
from fnn.check.reports.report import Row, worst_of
from fnn.layer import PyTree
from fnn.tree import paths


def value(
    function: Binding,
    reference: Binding | None,
    others: PyTree,
    x: PyTree,
    y: PyTree,
    *,
    tolerance: float = 1e-10,
) -> tuple[Row, ...]:
    """f's forward rule and the reference against y = f(x): one row an output, its worse comparison."""
    found = {"the value that jax.vjp(f) returns is f(x)": _forward_rule_value(function, others, x)}
    if reference is not None:
        found["the reference's value is f(x)"] = _value(reference, others, x)
    floor = FLOOR * max(
        max((norm(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(y)), default=0.0),
        LEAST_GAIN * _size(x),
    )
    rows = []
    for i, (path, leaf) in enumerate(paths(y)):
        compared = []
        for predicate, other in found.items():
            own, theirs = (np.asarray(a, np.float64) for a in (leaf, jax.tree.leaves(other)[i]))
            row = compare_arrays(
                "value",
                "/".join(filter(None, ("y", path))),
                *without_common(theirs, own),
                floor=floor,
                tolerance=tolerance,
                probe="any",
            )
            compared.append(
                row._replace(
                    predicate=f"{predicate}, to {tolerance:.0e} of its norm or of {floor:.1e}",
                    likely="" if row.ok else "two different functions",
                )
            )
        rows.append(worst_of(compared))
    return tuple(rows)


def forward_rule(
    function: Binding,
    reference: Binding,
    others: PyTree,
    x: PyTree,
    *,
    seed: int = 0,
    tolerance: float = 1e-10,
    floor: float = FLOOR,
) -> tuple[Row, ...]:
    """One seeded tangent for each leaf: J t of f itself against the reference's, element by element."""
    leaves = [(path, leaf) for path, leaf in paths(x) if is_real(leaf)]
    tangents = [direction(leaf.shape, seed, i) for i, (_, leaf) in enumerate(leaves)]
    images = [
        tuple(
            jax.tree.map(
                lambda a: np.asarray(a, np.float64), _image(f, others, x, _alone(tangents, i))
            )
            for f in (function, reference)
        )
        for i in range(len(leaves))
    ]
    gain = max(
        (norm(np.asarray(a)) for _, image in images for a in jax.tree.leaves(image)), default=0.0
    )
    rows = []
    for (path, _), (own, theirs) in zip(leaves, images, strict=True):
        compared = [
            compare_arrays(
                "forward rule",
                f"x/{path}",
                a,
                b,
                floor=floor * max(gain, LEAST_GAIN * norm(tangents[0])),
                tolerance=tolerance,
                probe="any",
            )._replace(
                predicate=f"J t by jax.jvp of the function is the reference's at y/{output}, "
                f"t on {path} alone, to {tolerance:.0e}"
            )
            for (output, a), (_, b) in zip(paths(own), paths(theirs), strict=True)
        ]
        rows.append(worst_of(compared))
    return tuple(rows)


@traced_once(1)
def _forward_rule_value(function: Binding, others: PyTree, x: PyTree) -> PyTree:
    return vjp(function, others, x)[0]


@traced_once(1)
def _value(function: Binding, others: PyTree, x: PyTree) -> PyTree:
    return function(others, x)


@traced_once(1)
def _image(function: Binding, others: PyTree, x: PyTree, tangents: list[Any]) -> PyTree:
    return jvp(function, others, x, tangents)[1]


def _alone(tangents: list[np.ndarray], i: int) -> list[np.ndarray]:
    """The i-th tangent, and zeros for the others."""
    return [t if k == i else np.zeros_like(t) for k, t in enumerate(tangents)]


def _size(tree: PyTree) -> float:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree) if is_real(leaf)]
    return max((norm(leaf[np.isfinite(leaf)]) for leaf in leaves), default=0.0)
