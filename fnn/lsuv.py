"""Layer-sequential unit variance: an initialization that looks at the data.

An initializer promises a variance for inputs of an ideal law, between layers of ideal kinds. Here the
network is run on a batch of its own data, and each kernel is divided by the deviation that its layer's
output really has, one layer after the other from the input on.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.compose.watch import Kept
from fnn.dtypes import accumulation_dtype
from fnn.initializers import orthogonal
from fnn.layer import Array, Key, Layer, PyTree, Static, map_layers
from fnn.layers.maxout import MaxoutParams
from fnn.layers.weight_norm import WeightNormParams
from fnn.random import child_key
from fnn.tables import table
from fnn.tap import watched_leaves


class LsuvRow(NamedTuple):
    """What was done to one kernel."""

    path: str  # of the layer, with [i] for the i-th block of a repeat
    name: str  # the layer's, such as linear(10)
    before: float  # the variance of its output, with the layers before it done
    after: float  # the variance in the network that is returned
    scalings: int


class LsuvReport(NamedTuple):
    """A row a kernel, in the order of calls; and the layers whose parameters were left as they are."""

    rows: tuple[LsuvRow, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            [
                row.path or "(network)",
                row.name,
                f"{row.before:.4g}",
                f"{row.after:.4f}",
                f"{row.scalings}",
            ]
            for row in self.rows
        ]
        head = ["layer", "kind", "variance before", "after", "scalings"]
        left = [f"left as they are: {', '.join(self.left)}"] if self.left else []
        return "\n".join([*table(head, lines, left=2), *left])


class _Output(NamedTuple):
    """What a leaf's output was like, in one round of a loop or in all there is."""

    mean: Array  # (), at least float32
    variance: Array  # ()
    shape: Static[tuple[int, ...]]  # of the kernel, as the layer saw it


class _Place(NamedTuple):
    """Where a kernel lies: the layer's path in the parameters, and its indices where it is stacked."""

    path: tuple[str, ...]
    block: tuple[int, ...]


class _Found(NamedTuple):
    name: str  # the layer's
    variance: float  # over all rounds that use this kernel


def lsuv(
    net: Layer,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key = None,
    *,
    tolerance: float = 0.1,
    most: int = 10,
) -> tuple[PyTree, LsuvReport]:
    """Parameters with which every layer's output on `x` has a variance of 1, and what was done for it.

        for each layer with a kernel w, from the input to the output:
            w ← an orthonormal matrix
        for each of them:
            while |var(y) - 1| > tolerance:   w ← w / √var(y)

    The variance is over all elements of the layer's output (before an activation that is a layer of its
    own) in the training pass. Kernels are the `w` of layers that have nothing else but a bias: linear,
    convolutions, maxout; and the gain of a `weight_norm`. Other layers are left as they are, and named
    in the report if they have parameters: recurrences and attention, whose output is no multiple of one
    kernel, embeddings, normalizations, and what is frozen or shared from elsewhere. In a loop over time,
    all steps count together. It looks at numbers, so it is no function for `jit` or `vmap`. Source:
    Mishkin, Matas (2016).

    Args:
      net: the network.
      params: its parameters; biases stay.
      state: its state; it is not changed.
      x: a batch, a hundred examples or more for a variance that is to be trusted.
      key: draws the orthonormal kernels, and is given to the forward pass. None keeps the kernels that
        there are, and only scales them.
      tolerance: of the variance.
      most: scalings of one kernel in one sweep over the network, and sweeps.

    Raises:
      ValueError: a layer's output is constant or not finite, or its variance stays away from 1; it names
        the path. Or the tolerance is not in (0, 1), `most` below 1, or no layer has a kernel.
    """
    if not 0 < tolerance < 1 or most < 1:
        raise ValueError(
            f"lsuv: expected a tolerance in (0, 1) and most >= 1, got {tolerance} and {most}"
        )
    watched = map_layers(_measured, net)

    @jax.jit
    def caches(params: PyTree, state: PyTree, x: PyTree, key: Key) -> PyTree:
        return watched.forward(params, state, x, key)[2]

    def outputs(params: PyTree) -> tuple[dict[_Place, _Found], tuple[str, ...]]:
        return _outputs(net, params, caches(params, state, x, key))

    found, left = outputs(params)
    if not found:
        raise ValueError(f"lsuv: expected a layer with a kernel w, got none in {net.name}")
    if key is not None:
        for place in found:
            params = _changed(params, place, _orthonormal(child_key(key, _written(place))))
        found, _ = outputs(params)
    before: dict[_Place, float] = {}
    scalings = dict.fromkeys(found, 0)
    for _ in range(most):
        for place in found:
            for _ in range(most):
                variance = _usable(place, found[place])
                before.setdefault(place, variance)
                if abs(variance - 1) <= tolerance:
                    break
                params = _changed(params, place, _multiply(1 / math.sqrt(variance)))
                scalings[place] += 1
                found, _ = outputs(params)
        off = [place for place in found if not abs(found[place].variance - 1) <= tolerance]
        if not off:
            rows = (
                LsuvRow(_written(p), found[p].name, before[p], found[p].variance, scalings[p])
                for p in found
            )
            return params, LsuvReport(tuple(rows), left)
    raise ValueError(
        f"lsuv: expected the variance of the output of {_written(off[0])!r} within {tolerance} of 1, "
        f"got {found[off[0]].variance:.4g} after {scalings[off[0]]} scalings; its output does not grow "
        "with its kernel; look at its bias and at the noise around it"
    )


def _kernel(params: PyTree) -> str | None:
    """The name of the field that a layer's output grows with, if it has one."""
    fields = getattr(params, "_fields", ())
    if isinstance(params, WeightNormParams):
        return "gain"
    only = "w" in fields and set(fields) <= {"w", "b"}
    return "w" if only and getattr(params.w, "ndim", 0) >= 2 else None


def _measured(path: str, leaf: Layer) -> Layer:
    """The layer, with what its output is like for a cache."""
    del path  # each is measured alike

    def forward(params: PyTree, state: PyTree, x: PyTree, key: Key) -> tuple[PyTree, PyTree, Kept]:
        y, new_state, _ = leaf.forward(params, state, x, key)
        field = _kernel(params)
        if field is None:
            return y, new_state, Kept((), ((),) * 5)
        wide = y.astype(accumulation_dtype(y.dtype))
        shape = Static(getattr(params, field).shape)
        return y, new_state, Kept((), (_Output(wide.mean(), wide.var(), shape), (), (), (), ()))

    return leaf._replace(forward=forward)


def _outputs(
    net: Layer, params: PyTree, cache: PyTree
) -> tuple[dict[_Place, _Found], tuple[str, ...]]:
    """Every kernel's place, with its layer and the variance; and the other layers with parameters."""
    rounds: dict[_Place, list[tuple[float, float]]] = {}
    names: dict[_Place, str] = {}
    left: dict[str, None] = {}
    for path, leaf, kept, _ in watched_leaves(net, cache):
        parts = path.split("/") if path else []
        plain = tuple(re.sub(r"\[\d+\]$", "", part) for part in parts)
        own, measured = _at(params, plain), kept.seen[0]
        field = _kernel(own)
        if field is None or not isinstance(measured, _Output):
            if jax.tree.leaves(own) or isinstance(measured, _Output):
                left.setdefault(f"{'/'.join(plain)} ({leaf.name})")
            continue
        stacked = jnp.ndim(getattr(own, field)) - len(measured.shape.value)
        index = tuple(int(i) for part in parts for i in re.findall(r"\[(\d+)\]$", part))
        if stacked not in (0, len(index)):
            raise ValueError(
                f"lsuv: expected {path!r} in loops that all have kernels of their own or all share one, "
                f"got {stacked} of {len(index)} that have their own"
            )
        place = _Place(plain, index if stacked else ())
        names[place] = leaf.name
        rounds.setdefault(place, []).append((float(measured.mean), float(measured.variance)))
    found = {}
    for place, each in rounds.items():
        means, variances = np.asarray(each, np.float64).T
        found[place] = _Found(names[place], float(variances.mean() + means.var()))
    return found, tuple(left)


def _usable(place: _Place, found: _Found) -> float:
    if not (math.isfinite(found.variance) and found.variance > 0):
        raise ValueError(
            f"lsuv: expected the output of {_written(place)!r} to vary and to be finite, got a variance "
            f"of {found.variance}; look at x, at the biases, and at what lies before it"
        )
    return found.variance


def _at(params: PyTree, path: tuple[str, ...]) -> PyTree:
    """The parameters of a layer; () for one whose parameters are not there (frozen, shared)."""
    for name in path:
        if not isinstance(params, Mapping) or name not in params:
            return ()
        params = params[name]
    return params


def _written(place: _Place) -> str:
    if not place.block:
        return "/".join(place.path)
    indices = "".join(f"[{i}]" for i in place.block)
    return f"{'/'.join(place.path)}{indices}"


def _changed(params: PyTree, place: _Place, change: Any) -> PyTree:
    """The parameters with ``change(layer's parameters, kernel)`` for the kernel at this place."""
    if place.path:
        name, *below = place.path
        inner = _changed(params[name], _Place(tuple(below), place.block), change)
        return {**params, name: inner}
    field, new = change(params)
    whole = np.array(getattr(params, field))  # NumPy's: an update in jax would compile one a shape
    whole[place.block] = new(whole[place.block])
    return params._replace(**{field: jnp.asarray(whole, whole.dtype)})


def _multiply(factor: float) -> Any:
    def change(params: PyTree) -> tuple[str, Any]:
        return str(_kernel(params)), lambda w: (w.astype(np.float64) * factor).astype(w.dtype)

    return change


def _orthonormal(key: Key) -> Any:
    def change(params: PyTree) -> tuple[str, Any]:
        field = "direction" if isinstance(params, WeightNormParams) else "w"
        pieces = isinstance(params, MaxoutParams)

        def draw(w: np.ndarray) -> np.ndarray:
            # All pieces of a maxout are rows of one matrix from its inputs.
            shape = (w.shape[0], math.prod(w.shape[1:])) if pieces else w.shape
            return np.asarray(orthogonal(key, shape, w.dtype)).reshape(w.shape)

        return field, draw

    return change
