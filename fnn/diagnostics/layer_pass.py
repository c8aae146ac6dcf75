"""What one pass adds to what is known of a layer, and what comes of it in the end."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.diagnostics.layer_record import LayerHealth
from fnn.diagnostics.passes import Seen
from fnn.diagnostics.saturation import is_bounded, saturated
from fnn.diagnostics.spectrum import Scatter, merged_scatter, rank_of, scatter
from fnn.diagnostics.statistics import (
    Moments,
    Statistics,
    deviation,
    empty,
    is_floating,
    merged,
    merged_moments,
    of_tree,
    rms,
    sums,
)
from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array, Layer, PyTree, Static
from fnn.tree import paths

# What these set to 0 is drawn: a unit of theirs is not dead if that was all of it.
_DRAWN = ("dropout", "spatial_dropout", "gaussian_dropout", "alpha_dropout", "gaussian_noise")


class Running(NamedTuple):
    """The sums of one leaf layer, of any number of passes."""

    y: Statistics | None
    dy: Statistics | None
    x: Moments | None
    dx: Moments | None
    nonzero: Array | None  # (C,), elements of each unit that are not 0
    fed: Array | None  # (C,), the same of x, for an activation
    flat: tuple[Array, Array] | None  # elements on a flat end, and elements
    scatter: Scatter | None
    dparams: PyTree  # summed over passes and over calls, in float32 at least


def running(seen: Seen, spectra: int, sample: int) -> Running:
    """The sums of one pass, not yet `binned`; `spectra` is the widest layer with a `scatter`."""
    single = _single(seen.y)
    y, columns = (of_tree(seen.y, sample), None) if single is None else sums(single, sample)
    fed = None
    x = _single(seen.x)
    if single is not None and x is not None and _activation(seen.layer, seen.params, x, single):
        fed = _nonzero(x)
    moments = None
    # The axis of steps and at least that of the examples are rows.
    if single is not None and single.ndim > 2 and 1 < single.shape[-1] <= spectra:
        moments = scatter(single, None if columns is None else columns.mean)
    bounded = single is not None and is_bounded(seen.layer.name)
    return Running(
        y,
        of_tree(seen.dy, sample),
        _moments(of_tree(seen.x, sample)),
        _moments(of_tree(seen.dx, sample)),
        None if columns is None else columns.nonzero,
        fed,
        saturated(seen.layer.name, single) if bounded and single is not None else None,
        moments,
        jax.tree.map(_summed, seen.dparams),
    )


def joined(a: Running, b: Running) -> Running:
    """The sums of two sets of passes."""

    def either(merge: Any, a: Any, b: Any) -> Any:
        return None if a is None else merge(a, b)

    add = partial(jax.tree.map, jnp.add)
    return Running(
        either(merged, a.y, b.y),
        either(merged, a.dy, b.dy),
        either(merged_moments, a.x, b.x),
        either(merged_moments, a.dx, b.dx),
        *(add(x, y) for x, y in zip(a[4:7], b[4:7], strict=True)),
        either(merged_scatter, a.scatter, b.scatter),
        add(a.dparams, b.dparams),
    )


def begun(like: Running) -> Running:
    """The sums of no pass, in the shapes of others."""
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    y, dy = (None if given is None else empty(given) for given in (like.y, like.dy))
    return zero._replace(y=y, dy=dy)


def finished(path: str, layer: Layer, blocks: tuple[int, ...], total: Running) -> LayerHealth:
    """What comes of the sums of all passes; its gradients not yet `binned`."""

    def one(total: Running) -> LayerHealth:
        rows = None if total.nonzero is None else _rows(total)
        return LayerHealth(
            Static(path),
            Static(layer.name),
            Static(blocks),
            total.y,
            total.dy,
            _ratio(deviation, _moments(total.y), total.x),
            _ratio(rms, total.dx, _moments(total.dy)),
            None if total.nonzero is None or rows is None else total.nonzero / rows,
            None
            if total.fed is None or total.nonzero is None
            else (total.nonzero == 0) & (total.fed > 0),
            None if total.flat is None else total.flat[0] / jnp.maximum(total.flat[1], 1),
            None if total.scatter is None else rank_of(total.scatter),
            {name: sums(leaf)[0] for name, leaf in paths(total.dparams) if is_floating(leaf)},
        )

    for _ in blocks:
        one = jax.vmap(one)
    return one(total)


def _rows(total: Running) -> Array:
    """How many elements each unit has."""
    if total.y is None or total.nonzero is None:
        raise TypeError("units are counted of floating outputs alone")
    return jnp.maximum((total.y.count + total.y.nonfinite) / total.nonzero.shape[0], 1)[None]


def _single(tree: PyTree) -> Array | None:
    """The array, if the tree is a single floating one with units: (steps, …, C)."""
    leaves = jax.tree.leaves(tree)
    if len(leaves) != 1 or not is_floating(leaves[0]) or leaves[0].ndim < 2:
        return None
    return leaves[0]


def _activation(layer: Layer, params: PyTree, x: Array, y: Array) -> bool:
    """Whether it maps single elements and may make a unit of them die."""
    drawn = layer.name.partition("(")[0] in _DRAWN
    return x.shape == y.shape and not jax.tree.leaves(params) and not drawn


def _nonzero(x: Array) -> Array:
    return sums(x)[1].nonzero


def _moments(of: Statistics | None) -> Moments | None:
    return None if of is None else of.moments


def _summed(leaf: Array) -> Array:
    """The sum over the steps in time."""
    if leaf.shape[0] == 1:
        return leaf[0].astype(accumulation_dtype(leaf.dtype))
    return leaf.astype(accumulation_dtype(leaf.dtype)).sum(axis=0)


def _ratio(measure: Any, above: Moments | None, below: Moments | None) -> Array:
    if above is None or below is None:
        return jnp.asarray(jnp.nan, jnp.float32)
    high, low = measure(above), measure(below)
    dtype = computing_dtype(high, low)
    high, low = high.astype(dtype), low.astype(dtype)
    return jnp.where(low > 0, high / jnp.where(low > 0, low, 1), jnp.nan)
