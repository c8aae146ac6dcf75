"""Weight decay: its closed forms, and where in a composition it stands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import optimizers
from fnn.optimizers import apply_updates, compose, decay_weights


def test_decay_before_or_after_the_moments_has_other_fixed_points():
    """Of ½ (p - 1)², with L2 in the gradient p* = 1 / (1 + λ); decoupled, Adam's p* depends on more."""
    decay = 0.5

    def fixed_point(optimizer):
        p, state = jnp.asarray(0.2), optimizer.init(jnp.asarray(0.2))

        @jax.jit
        def advance(p, state):
            updates, state = optimizer.update(p - 1, state, p)
            return apply_updates(p, updates), state

        for _ in range(400):
            p, state = advance(p, state)
        return float(p)

    moments = {"moments": optimizers.scale_by_moments(0.9, 0.99, 1e-8)}
    wd, rate = {"decay": decay_weights(decay)}, {"rate": optimizers.descend(0.02)}
    np.testing.assert_allclose(fixed_point(compose(**wd, **rate)), 1 / 1.5, rtol=1e-3)
    np.testing.assert_allclose(fixed_point(compose(**wd, **moments, **rate)), 1 / 1.5, rtol=1e-2)
    # Decoupled, -1, the direction of Adam where p < 1, outweighs λ p = p / 2 all the way to 1.
    assert fixed_point(compose(**moments, **wd, **rate)) > 0.8


def test_without_a_gradient_every_parameter_shrinks_by_the_same_share():
    """p_t = (1 - rate · weight_decay)ᵗ p_0, decoupled; the moments see nothing of it."""
    rate, decay = 0.1, 0.5
    moments = optimizers.scale_by_moments(0.9, 0.999, 1e-8)
    optimizer = compose(moments=moments, decay=decay_weights(decay), rate=optimizers.descend(rate))
    p = jnp.asarray([3.0, -0.01])
    state = optimizer.init(p)
    for t in range(1, 11):
        updates, state = optimizer.update(jnp.zeros(2), state, p)
        p = apply_updates(p, updates)
        np.testing.assert_allclose(p, np.asarray([3.0, -0.01]) * (1 - rate * decay) ** t, rtol=1e-5)


@pytest.mark.parametrize("given", [-0.1, np.inf, np.nan])
def test_decays_that_are_none(given):
    with pytest.raises(ValueError, match="weight_decay finite and at least 0, got"):
        decay_weights(given)
