"""How noisy a batch's gradient is, and so how large a batch is worth its time.

With G the gradient over all data and Σ the covariance of the examples' gradients, the simple noise scale

    B = tr Σ / |G|²

is the batch size at which half of a step is noise: far below it, a step on twice the batch is worth
nearly two; far above, it is worth one. Of a batch's gradient g of b examples, E|g|² = |G|² + tr Σ / b,
so that two batch sizes tell both, without bias:

    |G|² = (B₂ |g₂|² - B₁ |g₁|²) / (B₂ - B₁)      tr Σ = (|g₁|² - |g₂|²) / (1 / B₁ - 1 / B₂)

Source: McCandlish, Kaplan, Amodei (2018), appendix A.1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.diagnostics.parts import examples_in
from fnn.gradient import value_and_grad
from fnn.layer import Array, Key, Layer, PyTree, as_arrays
from fnn.losses import Loss
from fnn.train.step import global_norm


class NoiseScale(NamedTuple):
    """The two estimates, each without bias; one batch's are noisy, so average each over several steps
    (by ``jax.tree.map``), and then take `scale`.

    Attributes:
      gradient: of |G|²; may be negative where noise is all there is.
      trace: of tr Σ.
    """

    gradient: Array
    trace: Array

    @property
    def scale(self) -> Array:
        """tr Σ / |G|², in examples; ∞ where the estimate of |G|² is not above 0."""
        above = self.gradient > 0
        return jnp.where(above, self.trace / jnp.where(above, self.gradient, 1), jnp.inf)

    def __str__(self) -> str:
        return (
            f"noise scale {float(self.scale):.4g} examples: tr Σ {float(self.trace):.3g}, "
            f"|G|² {float(self.gradient):.3g}"
        )


def noise_scale(small: Array, small_size: int, large: Array, large_size: int) -> NoiseScale:
    """From the mean of |g|² over batches of one size, and of another, larger one.

    Raises:
      ValueError: the sizes are not ``1 <= small_size < large_size``.
    """
    if not 1 <= small_size < large_size:
        raise ValueError(
            f"noise_scale: expected 1 <= small_size < large_size, got {small_size} and {large_size}"
        )
    small, large = jnp.asarray(small), jnp.asarray(large)
    gradient = (large_size * large - small_size * small) / (large_size - small_size)
    return NoiseScale(gradient, (small - large) / (1 / small_size - 1 / large_size))


def gradient_noise(net: Layer, loss: Loss, *, parts: int = 8) -> Callable[..., NoiseScale]:
    """``look(params, state, x, target, key=None) -> NoiseScale``, pure and jitted.

    From the gradients of `parts` equal parts of the batch, one after another, and of all of it; so it
    works for every network, with batch norm on the statistics of each part. The key of part i is
    ``fold_in(key, i)``. Where the examples do not couple, `per_example_norms` tells more from one pass.

    Raises:
      ValueError: fewer than two parts, or examples that do not fall into as many equal parts.
    """
    if parts < 2:
        raise ValueError(f"gradient_noise: expected at least two parts, got {parts}")
    gradient = value_and_grad(net, loss)

    def function(
        params: PyTree, state: PyTree, x: PyTree, target: PyTree, key: Key = None
    ) -> NoiseScale:
        data = as_arrays((x, target))
        count = examples_in(data)
        if count % parts:
            raise ValueError(
                f"gradient_noise: expected examples that fall into {parts} equal parts, got {count}"
            )

        def one(total: PyTree, each: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
            (x, target), i = each
            own = None if key is None else jax.random.fold_in(key, i)
            _, grads = gradient(params, state, x, target, own)
            share = jax.tree.map(lambda t, g: t + g / parts, total, grads)
            return share, jnp.square(global_norm(grads))

        stacked = jax.tree.map(
            lambda leaf: leaf.reshape(parts, count // parts, *leaf.shape[1:]), data
        )
        nothing = jax.tree.map(jnp.zeros_like, params)
        mean, squares = jax.lax.scan(one, nothing, (stacked, jnp.arange(parts)))
        whole = jnp.square(global_norm(mean))
        return noise_scale(squares.mean(), count // parts, whole, count)

    return jax.jit(function)
