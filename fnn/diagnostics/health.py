"""How a network is: what every layer gives, is told of its gradient, and makes of it, in one pass.

    look = health(net, loss)
    found = look(params, state, x, target)
    print(found)                    # a row a layer, and flags
    for finding in findings(found): …

A training pass and its backward pass, with the sums taken while the arrays are there: no second pass,
and nothing of the size of the batch comes out.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.health_results import Form, Health, row_starts
from fnn.diagnostics.layer_pass import Running, begun, joined, part_count, running
from fnn.diagnostics.parts import examples_in, over_parts, thinned
from fnn.diagnostics.passes import examined, named, share_of_mean
from fnn.diagnostics.spectrum import Rank, rank_of
from fnn.diagnostics.statistics import (
    SAMPLE,
    Moments,
    columns,
    deviation,
    gathered,
    is_floating,
    rms,
)
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays
from fnn.losses import Loss
from fnn.tap import tapped
from fnn.tree import paths


def health(
    net: Layer,
    loss: Loss,
    *,
    batch_size: int | None = None,
    subset: int | None = None,
    spectra: int = 256,
    histogram_sample: int = SAMPLE,
) -> Callable[..., Health]:
    """``look(params, state, x, target, key=None, weights=None) -> Health``, pure and jitted.

    Of the mean loss L over the examples, as a train step takes it: `weights` weigh L and with it all
    gradients, while activations of all examples count alike. See `LayerHealth` for what is found of each
    leaf layer. The blocks of a `repeat` are layers of their own; the steps of an `over_time` are one
    layer, all of whose calls count together. What `shared` puts at several places has a gradient at each.

    Args:
      net: the network. Its parameters and state stay as they are.
      loss: the loss of an example.
      batch_size: examples a pass; None for all at once. With fewer than there are, a scan over passes of
        as many, and one over what is left, so that a whole data set is seen in the memory of one batch:
        the statistics combine exactly, and L is the mean over all. Batch norm then has the statistics of
        each pass, and the key of pass i is ``fold_in(key, i)``.
      subset: looks at this many of the examples alone, at equal distances, for a cheaper look.
      spectra: the widest layer whose effective rank is found, from a matrix of width × width.
      histogram_sample: about so many elements of an array go into a histogram at most, in each pass.

    Raises:
      ValueError: no examples, an option that is not positive, or more in `subset` than examples.
    """
    for name, given in (("batch_size", batch_size), ("subset", subset)):
        if given is not None and given < 1:
            raise ValueError(f"health: expected {name} of at least 1, or None, got {given}")
    if spectra < 0 or histogram_sample < 1:
        raise ValueError(
            "health: expected spectra >= 0 and histogram_sample >= 1, got "
            f"{spectra} and {histogram_sample}"
        )
    watched = tapped(net)

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> Health:
        data = as_arrays((x, target, weights))
        data = data if subset is None else thinned(data, subset)
        share = share_of_mean(data)
        order: list[tuple[str, int, int]] = []

        def one(data: PyTree, key: Key) -> tuple[Array, Running]:
            part, seen = examined(watched, net, loss, params, state, data, key, share)
            order[:] = named(seen)
            return part, running(seen, spectra, histogram_sample)

        def merge(a: tuple[Array, Running], b: tuple[Array, Running]) -> tuple[Array, Running]:
            return a[0] + b[0], joined(a[1], b[1])

        def begin(like: tuple[Array, Running]) -> tuple[Array, Running]:
            return jnp.zeros(like[0].shape, like[0].dtype), begun(like[1])

        mean, total = over_parts(one, merge, begin, data, key, batch_size)
        return _finished(mean, total, order, examples_in(data))

    return jax.jit(function)


def _finished(
    mean: Array, total: Running, order: list[tuple[str, int, int]], examples: int
) -> Health:
    """What comes of the sums of all passes."""
    rows = total.rows.value
    counts = [part_count(row) for row in rows]
    dtype = total.y.mean.dtype
    # How many elements each unit has, as many times as there are units.
    elements = (total.y.finite + total.y.nonfinite) / jnp.asarray(
        np.repeat([max(row.width, 1) for row in rows], counts), dtype
    )
    owner = np.repeat(np.arange(sum(counts)), np.repeat([row.width for row in rows], counts))
    gradients = [
        (i, name, columns_of)
        for i, tree in enumerate(total.dparams)
        for name, leaf in paths(tree)
        if is_floating(leaf)
        for columns_of in [jax.vmap(columns)(leaf)]
    ]
    form = Form(rows, tuple(order), tuple((i, name) for i, name, _ in gradients), examples)
    flat, of = total.flat
    return Health(
        Static(form),
        mean,
        total.y,
        total.dy,
        _ratio(deviation, total.y.moments, total.x),
        _ratio(rms, total.dx, total.dy.moments),
        total.nonzero / jnp.maximum(elements, 1)[owner],
        (total.nonzero == 0) & (total.fed > 0),
        (total.nonzero == total.fed) & (total.fed > 0),
        jnp.where(of > 0, flat / jnp.where(of > 0, of, 1), jnp.nan),
        *_ranks(total, dtype),
        gathered([[found] for _, _, found in gradients]),
    )


def _ranks(total: Running, dtype: jnp.dtype) -> tuple[Rank, Array]:
    """(L,) each, from the decompositions of all layers of one width at once; and the variation."""
    rows, starts = total.rows.value, row_starts(total.rows.value)
    nothing = jnp.full(sum(part_count(row) for row in rows), jnp.nan, dtype)
    effective, stable, variation = nothing, nothing, nothing
    for width, scatters in total.scatter.items():
        places = np.concatenate(
            [
                np.arange(start, start + part_count(row))
                for row, start in zip(rows, starts, strict=True)
                if row.spectrum and row.width == width
            ]
        )
        found = jax.vmap(rank_of)(scatters)
        spread = jnp.trace(scatters.products, axis1=1, axis2=2)
        size = spread + scatters.rows * jnp.square(scatters.mean).sum(axis=1)
        share = jnp.sqrt(spread / jnp.where(size > 0, size, 1))
        effective = effective.at[places].set(found.effective.astype(dtype))
        stable = stable.at[places].set(found.stable.astype(dtype))
        variation = variation.at[places].set(share.astype(dtype))
    return Rank(effective, stable), variation


def _ratio(measure: Callable[[Moments], Array], above: Moments, below: Moments) -> Array:
    high, low = measure(above), measure(below)
    known = (low > 0) & (above.finite > 0)
    return jnp.where(known, high.astype(low.dtype) / jnp.where(known, low, 1), jnp.nan)
