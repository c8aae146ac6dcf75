"""The norm of every example's own gradient, from what one backward pass of the batch shows.

A layer's x and dy hold the gradients of all examples: dw = Σ_n Σ_t x_nt dy_ntᵀ is a sum over them, and
example n's part of it need not be written down for its norm to be known. How, layer by layer: see
`fnn.diagnostics.leaf_norms`.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.leaf_norms import Way, leaf_squares
from fnn.diagnostics.noise_scale import NoiseScale, noise_scale
from fnn.diagnostics.parts import examples_in
from fnn.diagnostics.passes import BLOCK, Seen, examined, over_blocks, share_of_mean
from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays
from fnn.losses import Loss
from fnn.tables import table
from fnn.tap import tapped
from fnn.tree import paths

_COUPLING_LAYERS = ("batch_norm",)
_COUPLING_LOSSES = ("nt_xent",)


class ExampleNorms(NamedTuple):
    """The gradients of the examples' losses, by their norms; `str()` is a table.

    Attributes:
      layers: (path, how its part was found).
      squares: (layers, N), each layer's part of ‖g_n‖².
      mean: (), ‖Σ g_n / N‖², of the batch's gradient.
    """

    layers: Static[tuple[tuple[str, Way], ...]]
    squares: Array
    mean: Array

    @property
    def norms(self) -> Array:
        """(N,), ‖g_n‖."""
        return jnp.sqrt(self.squares.sum(axis=0))

    @property
    def noise(self) -> NoiseScale:
        """The gradient noise scale that they tell; of two examples at least."""
        size = self.squares.shape[1]
        return noise_scale(self.squares.sum(axis=0).mean(), 1, self.mean, size)

    def __str__(self) -> str:
        parts = np.sqrt(np.asarray(self.squares))
        names = [*self.layers.value, ("all", "")]
        lines = [
            [path, way, *(f"{value:.3g}" for value in np.percentile(row, [0, 50, 100]))]
            for (path, way), row in zip(names, [*parts, np.asarray(self.norms)], strict=True)
        ]
        return "\n".join(table(["layer", "how", "smallest", "median", "largest"], lines, left=2))


def per_example_norms(
    net: Layer, loss: Loss, *, coupled: Literal["refuse", "shares"] = "refuse"
) -> Callable[..., ExampleNorms]:
    """``look(params, state, x, target, key=None, weights=None) -> ExampleNorms``, pure and jitted.

    g_n is the gradient of what example n adds to the mean loss L, times N, so that ``Σ g_n / N = ∇L``;
    with weights these count in it. It takes one forward and one backward pass of the batch, and for each
    layer less than another backward pass, but for those that are found "one by one".

    Batch norm couples the examples: no loss there is that of one example, and so is no gradient. With
    ``coupled="shares"``, g_n is then the part that example n has in the sums by which the backward pass
    of the batch makes ∇L, which is what these parts add up to, but not the gradient of anything.

    Args:
      net: the network; frozen parameters do not count.
      loss: that of an example.
      coupled: what to do where examples are coupled.

    Raises:
      ValueError: examples are coupled and that is refused; parameters are `shared`, whose two parts in
        one gradient cannot be told from two norms; a layer with parameters draws random numbers.
    """
    if coupled not in ("refuse", "shares"):
        raise ValueError(f"per_example_norms: expected 'refuse' or 'shares', got {coupled!r}")
    if coupled == "refuse" and loss.name.startswith(_COUPLING_LOSSES):
        raise ValueError(
            f"per_example_norms: the loss {loss.name} compares examples, so that none has a gradient "
            "of its own; coupled='shares' gives their shares in the batch's"
        )
    watched = tapped(net)

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> ExampleNorms:
        data = as_arrays((x, target, weights))
        count, share = examples_in(data), share_of_mean(data)
        _, seen = examined(watched, net, loss, params, state, data, key, share)
        layers: list[tuple[str, Way]] = []
        squares: list[Array] = []
        means: list[Array] = []
        for entry in seen:
            if not _trained(entry, params):
                continue
            if coupled == "refuse" and entry.layer.name.startswith(_COUPLING_LAYERS):
                raise ValueError(
                    f"{entry.path}: {entry.layer.name} couples the examples of a batch, so that none "
                    "has a gradient of its own; coupled='shares' gives their shares in the batch's"
                )
            ways: list[Way] = []

            def one(entry: Seen, ways: list[Way] = ways) -> Array:
                way, found = leaf_squares(entry)
                ways.append(way)
                return found

            found = over_blocks(one, entry).sum(axis=0)
            squares.append(found * count**2)
            layers.append((entry.path.replace(BLOCK, ""), ways[0]))
            means += _squares_of_sums(entry)
        if not squares:
            raise ValueError("per_example_norms: expected a network with parameters, got none")
        dtype = computing_dtype(*squares)
        mean = sum((each.astype(dtype) for each in means), jnp.zeros((), dtype))
        return ExampleNorms(
            Static(tuple(layers)), jnp.stack([each.astype(dtype) for each in squares]), mean
        )

    return jax.jit(function)


def _trained(entry: Seen, params: PyTree) -> bool:
    """Whether the layer's parameters are among those that are trained.

    Raises:
      ValueError: they are taken from elsewhere.
    """
    own = dict(paths(entry.params))
    if not own:
        return False
    held = params
    for name in entry.path.replace(BLOCK, "").split("/") if entry.path else ():
        if held is None:
            break
        if not isinstance(held, Mapping) or name not in held:
            return False  # frozen
        held = held[name]
    if held == ():
        return False
    if set(dict(paths(held))) != set(own):
        raise ValueError(
            f"{entry.path}: parameters that are shared with another layer have one gradient, whose norm "
            "is not told by the layers' own; use jax.vmap of value_and_grad on single examples"
        )
    return True


def _squares_of_sums(entry: Seen) -> list[Array]:
    """‖dθ‖² of each of the layer's parameters, over all its blocks."""
    leaves = jax.tree.leaves(entry.dparams)
    wide = (leaf.astype(accumulation_dtype(leaf.dtype)).sum(axis=1) for leaf in leaves)
    return [jnp.square(each).sum() for each in wide]  # after the sum over the steps in time
