"""The residual network: its sizes, its shortcuts, where its loss starts, its gradient as a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses, models
from fnn.tree import paths


def started(net, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(net.init, jax.random.key(0), x)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# The paper's tables: 0.27, 0.46, 0.66, 0.85 and 1.7 million, with shortcuts without weights; the two
# projections and their norms are 2,752 more.
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_sizes_are_those_of_the_paper(depth, parameters):
    params, _ = started(models.resnet(10, depth=depth), 1, 32, 32, 3)
    assert count(params) == parameters + 2752


def test_depth_counts_the_layers_with_weights():
    """Those on the longest path: all convolutions and dense layers but the two projections."""
    for depth in (8, 14, 20):
        params, _ = started(models.resnet(10, depth=depth), 1, 28, 28, 1)
        kernels = [path for path, _ in paths(params) if path.endswith("/w")]
        assert len(kernels) - 2 == depth
        assert sum("shortcut" in path for path in kernels) == 2


def test_stages_halve_the_image_and_double_the_channels():
    net = models.resnet(7, depth=14, width=8)
    params, state = started(net, 2, 28, 28, 1)
    x, shapes = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32), []
    for name, part in net.parts.items():
        x = jax.eval_shape(part.predict, params[name], state[name], x)
        shapes.append(x.shape)
    assert shapes == [
        (2, 28, 28, 8), (2, 28, 28, 8), (2, 14, 14, 16), (2, 7, 7, 32), (2, 32), (2, 7),
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [2, 9, 18, 19, -4])
def test_refuses_a_depth_of_another_form(depth):
    with pytest.raises(ValueError, match=rf"6 n \+ 2, such as 8, 14 or 20, got {depth}"):
        models.resnet(10, depth=depth)


@pytest.mark.parametrize("depth", [8.0, "20", None, True])
def test_refuses_a_depth_that_is_no_int(depth):
    with pytest.raises(TypeError, match=rf"^resnet: expected depth to be an int, got {depth!r}"):
        models.resnet(10, depth=depth)


def test_the_loss_starts_at_log_of_classes(rng, key):
    net = models.resnet(10, depth=8, width=4)
    x = jnp.asarray(rng.normal(size=(16, 8, 8, 1)), jnp.float32)
    params, state = net.init(key, x)
    y = jax.jit(lambda x: net.forward(params, state, x, None)[0])(x)
    target = jnp.asarray(rng.integers(0, 10, 16), jnp.int32)
    each, _ = losses.softmax_cross_entropy().forward(y, target)
    np.testing.assert_allclose(np.mean(each), np.log(10), rtol=0.03)


def test_gradient_of_a_stage_is_autodiffs(rng, key):
    """A block with a projection, through batch norm's training pass."""
    stage = models.resnet(3, depth=8, width=2).parts["stage_2"]

    def both(params, state, x, dy):
        _, _, cache = stage.forward(params, state, x, None)
        _, pull = jax.vjp(lambda p, x: stage.forward(p, state, x, None)[0], params, x)
        return stage.backward(params, cache, dy), pull(dy)

    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(3, 4, 4, 2)))
        params, state = stage.init(key, x)
        assert set(params["block_1"]["sum"]) == {"body", "shortcut"}
        hand, auto = jax.jit(both)(params, state, x, jnp.asarray(rng.normal(size=(3, 2, 2, 4))))
        for (path, by_hand), by_jax in zip(paths(hand), jax.tree.leaves(auto), strict=True):
            scale = np.linalg.norm(np.ravel(by_jax))
            assert scale > 0, path
            np.testing.assert_allclose(by_hand, by_jax, rtol=0, atol=1e-11 * scale, err_msg=path)
