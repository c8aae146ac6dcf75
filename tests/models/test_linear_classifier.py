"""The linear classifier: its first loss in closed form, and what it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses, models, value_and_grad


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(losses.softmax_cross_entropy(), np.log(7)), (losses.hinge(), 6.0)],
    ids=["softmax", "svm"],
)
def test_first_loss_is_that_of_knowing_nothing(loss, expected, rng):
    """log C, and C - 1, exactly: the first weights are zeros."""
    net = models.linear_classifier(7)
    x = jnp.asarray(rng.normal(size=(5, 4, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 7, 5), jnp.int32)
    params, state = net.init(jax.random.key(0), x)
    (value, _), gradient = value_and_grad(net, loss)(params, state, x, labels)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert np.abs(gradient["logits"].w).max() > 0


def test_shapes_and_size():
    net = models.linear_classifier(10)
    params, _ = net.init(jax.random.key(0), jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 7_850
    assert (
        models.linear_classifier(3, bias=False).init(None, jnp.ones((2, 4)))[0]["logits"].b is None
    )
