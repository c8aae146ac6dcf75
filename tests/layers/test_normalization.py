"""Normalizations against naive formulas, the staged derivation, equinox, and one device against eight."""

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import layers

KEY = jax.random.key(0)


def run(layer, x, moved=True):
    """(params, y, state, cache) at a scale and bias that are not 1 and 0."""
    params, state = layer.init(KEY, x)
    if moved:
        params = jax.tree.map(
            lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params
        )
    y, state, cache = layer.forward(params, state, x, None)
    return params, y, state, cache


def normal(rng, *shape, mean=0.0, std=1.0):
    return jnp.asarray(rng.normal(mean, std, shape), jnp.float32)


def naive(x, axes, scale=1.0, bias=0.0, eps=1e-5):
    """x̂ · scale + bias in float64."""
    x = np.asarray(x, np.float64)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * np.asarray(scale) + np.asarray(bias)


def staged_batch_norm_gradients(x, scale, dy, eps):
    """The lecture notes' way: the computation graph forward, then back through each node in turn."""
    m = len(x)
    mean = x.sum(axis=0) / m  # 1
    centred = x - mean  # 2
    squared = centred**2  # 3
    var = squared.sum(axis=0) / m  # 4
    root = np.sqrt(var + eps)  # 5
    inverse = 1 / root  # 6
    normalized = centred * inverse  # 7
    # 8 multiplies this by the scale, 9 adds the bias; and back:
    dbias, dproduct = dy.sum(axis=0), dy  # 9
    dscale, dnormalized = (dproduct * normalized).sum(axis=0), dproduct * scale  # 8
    dinverse, dcentred = (dnormalized * centred).sum(axis=0), dnormalized * inverse  # 7
    droot = -dinverse / root**2  # 6
    dvar = droot / (2 * root)  # 5
    dsquared = np.ones_like(x) * dvar / m  # 4
    dcentred = dcentred + 2 * centred * dsquared  # 3: the second path into the node
    dx, dmean = dcentred, -dcentred.sum(axis=0)  # 2
    return dscale, dbias, dx + np.ones_like(x) * dmean / m  # 1


class TestBatchNorm:
    def test_simplified_backward_is_the_staged_one(self, rng):
        with jax.enable_x64(True):
            x, dy = rng.normal(3, 2, (7, 4)), rng.normal(size=(7, 4))
            layer = layers.batch_norm(eps=0.1)
            params, _, _, cache = run(layer, jnp.asarray(x))
            (dscale, dbias), dx = layer.backward(params, cache, jnp.asarray(dy))
            staged = staged_batch_norm_gradients(x, np.asarray(params.scale), dy, 0.1)
        for got, expected in zip((dscale, dbias, dx), staged, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)

    def test_nothing_is_lost_far_from_zero(self, rng):
        """100,000 numbers near 1e4, where float32 has three decimals and E[x²] none."""
        x = normal(rng, 2000, 50, 2, mean=1e4)
        _, y, state, _ = run(layers.batch_norm(momentum=0.0), x, moved=False)
        np.testing.assert_allclose(y, naive(x, (0, 1)), atol=2e-5)
        np.testing.assert_allclose(state.var, np.asarray(x, np.float64).var((0, 1)), rtol=1e-5)

    @pytest.mark.parametrize("unbiased", [False, True])
    def test_population_statistics_are_those_of_all_elements(self, rng, unbiased):
        """Batches of unequal sizes, the first of one example, and a mean that moves between them."""
        layer = layers.batch_norm(momentum=None, unbiased=unbiased)
        batches = [normal(rng, n, 3, mean=n) for n in (1, 6, 2, 9)]
        params, state = layer.init(KEY, batches[0])
        for i, batch in enumerate(batches):
            state = layer.forward(params, state, batch, None)[1]
            seen = np.concatenate(batches[: i + 1]).astype(np.float64)
            divisor = max(len(seen) - unbiased, 1)
            var = ((seen - seen.mean(axis=0)) ** 2).sum(axis=0) / divisor
            np.testing.assert_allclose(state.mean, seen.mean(axis=0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(state.var, var, rtol=1e-5, atol=1e-6)
        assert state.seen == 18
        expected = (batches[1] - state.mean[None]) / np.sqrt(np.asarray(state.var) + 1e-5)[None]
        np.testing.assert_allclose(layer.predict(params, state, batches[1]), expected, atol=1e-5)

    def test_moving_average_of_the_unbiased_variance(self, rng):
        layer = layers.batch_norm(momentum=0.75, unbiased=True)
        x = normal(rng, 5, 2, std=3.0)
        params, y, state, _ = run(layer, x)
        np.testing.assert_allclose(state.var, 0.75 + 0.25 * np.var(x, axis=0, ddof=1), rtol=1e-5)
        np.testing.assert_allclose(y, naive(x, 0, params.scale, params.bias), atol=1e-5)
        _, _, alone, _ = run(layer, x[:1])
        np.testing.assert_allclose(alone.var, 0.75, rtol=1e-6)  # of one element, 0 and not 0 / 0

    def test_parts_of_a_batch_that_is_normalized_as_one(self, rng):
        """vmap over three parts with `axis_name` is the layer on the whole batch."""
        x, dy = normal(rng, 6, 2, 4, mean=2.0), normal(rng, 6, 2, 4)
        whole, part = layers.batch_norm(), layers.batch_norm(axis_name="parts")
        params, y, state, cache = run(whole, x)
        dparams, dx = whole.backward(params, cache, dy)

        def both(x, dy):
            y, state, cache = part.forward(params, whole.init(KEY, x)[1], x, None)
            return y, state, *part.backward(params, cache, dy)

        split = (3, 2, 2, 4)
        got = jax.vmap(both, axis_name="parts")(x.reshape(split), dy.reshape(split))
        np.testing.assert_allclose(got[0].reshape(y.shape), y, atol=1e-6)
        np.testing.assert_allclose(got[3].reshape(dx.shape), dx, atol=1e-6)
        for mine, expected in zip(got[1], state, strict=True):
            np.testing.assert_allclose(
                mine, np.broadcast_to(expected, mine.shape), rtol=1e-5, atol=1e-6
            )
        for mine, expected in zip(got[2], dparams, strict=True):
            np.testing.assert_allclose(mine.sum(axis=0), expected, rtol=1e-5, atol=1e-5)

    def test_gradient_over_two_named_axes_is_autodiffs(self, rng):
        layer = layers.batch_norm(axis_name=("rows", "columns"))
        x, dy = normal(rng, 2, 3, 2, 3), normal(rng, 2, 3, 2, 3)
        params = run(layers.batch_norm(), x[0, 0])[0]
        state = layers.batch_norm().init(KEY, x[0, 0])[1]

        def mapped(function):
            return jax.vmap(jax.vmap(function, axis_name="columns"), axis_name="rows")

        def hand(x, dy):
            _, _, cache = layer.forward(params, state, x, None)
            return layer.backward(params, cache, dy)[1]

        _, pull = jax.vjp(mapped(lambda x: layer.forward(params, state, x, None)[0]), x)
        np.testing.assert_allclose(mapped(hand)(x, dy), pull(dy)[0], atol=1e-6)

    def test_a_batch_on_eight_devices_is_a_batch_on_one(self):
        """Sharded under jit, and in a shard_map with `axis_name`; another process, as devices are."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(fnn.__file__).parents[1]),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        }
        program = Path(__file__).with_name("batch_norm_on_eight_devices.py")
        done = subprocess.run(
            [sys.executable, str(program)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "8 devices: jit and shard_map as on one"

    def test_without_scale_and_bias_there_are_no_parameters(self, rng):
        params = run(layers.batch_norm(scale=False, bias=False), normal(rng, 6, 2))[0]
        assert jax.tree.leaves(params) == []

    @pytest.mark.parametrize("momentum", [-0.1, 1.0, np.nan])
    def test_refuses_a_momentum_out_of_range(self, momentum):
        with pytest.raises(ValueError, match="expected 0 <= momentum < 1 or None"):
            layers.batch_norm(momentum=momentum)


class TestLayerNorm:
    def test_equinox_and_the_naive_formula(self, rng):
        x = normal(rng, 2, 3, 5, mean=-3.0, std=2.0)
        params, y, _, _ = run(layers.layer_norm(), x)
        np.testing.assert_allclose(y, naive(x, -1, params.scale, params.bias), atol=2e-6)
        peer = eqx.nn.LayerNorm(5, eps=1e-5)
        peer = eqx.tree_at(lambda n: (n.weight, n.bias), peer, tuple(params))
        np.testing.assert_allclose(y, jax.vmap(jax.vmap(peer))(x), atol=2e-6)

    @pytest.mark.parametrize("width", [8, 4096])
    def test_output_is_normalized_far_from_zero(self, rng, width):
        x = normal(rng, 6, width, mean=1e4)
        y = np.asarray(run(layers.layer_norm(), x, moved=False)[1])
        np.testing.assert_allclose(y, naive(x, -1), atol=2e-5)  # of the x that float32 holds

    def test_a_first_element_far_from_the_others(self, rng):
        """The mean is taken from it, so nothing may hang on its being near."""
        x = normal(rng, 4, 512).at[:, 0].set(3e4)
        y = np.asarray(run(layers.layer_norm(), x, moved=False)[1])
        np.testing.assert_allclose(y, naive(x, -1), rtol=1e-4, atol=2e-6)

    def test_dx_sums_to_zero_and_is_orthogonal_to_the_normalized_input(self, rng):
        layer = layers.layer_norm(eps=1e-12)
        params, y, _, cache = run(layer, normal(rng, 3, 64), moved=False)
        dx = np.asarray(layer.backward(params, cache, normal(rng, 3, 64))[1])
        np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-5)
        np.testing.assert_allclose((dx * y).sum(axis=-1), 0, atol=1e-4)

    def test_two_numbers_a_row_are_cached_beside_the_input(self, rng):
        for layer, least in ((layers.layer_norm(), 2), (layers.rms_norm(), 1)):
            cache = run(layer, normal(rng, 4, 6, 8))[3]
            assert sum(leaf.size for leaf in jax.tree.leaves(cache)) == 4 * 6 * (8 + least)

    def test_one_feature_gives_the_bias(self):
        _, y, _, _ = run(layers.layer_norm(), jnp.asarray([[3.0], [-7e5]]), moved=False)
        np.testing.assert_array_equal(y, 0)


class TestRMSNorm:
    def test_equinox_and_a_closed_form(self, rng):
        y = run(layers.rms_norm(eps=1e-12), jnp.asarray([[3.0, 4.0]]), moved=False)[1]
        np.testing.assert_allclose(y, [[0.6 * np.sqrt(2), 0.8 * np.sqrt(2)]], rtol=1e-6)
        x = normal(rng, 4, 6)
        params, y, _, _ = run(layers.rms_norm(eps=1e-5), x)
        peer = eqx.nn.RMSNorm(6, eps=1e-5, use_bias=False)
        peer = eqx.tree_at(lambda n: n.weight, peer, params.scale)
        np.testing.assert_allclose(y, jax.vmap(peer)(x), atol=2e-6)

    def test_the_size_of_x_does_not_matter_and_dx_is_orthogonal_to_it(self, rng):
        layer, x = layers.rms_norm(eps=1e-12), normal(rng, 3, 8)
        params, y, _, cache = run(layer, x)
        np.testing.assert_allclose(run(layer, 1024 * x)[1], y, rtol=1e-6)
        dx = layer.backward(params, cache, normal(rng, 3, 8))[1]
        np.testing.assert_allclose((dx * x).sum(axis=-1), 0, atol=2e-6)


class TestGroupNorm:
    def test_equinox_and_the_naive_formula(self, rng):
        x = normal(rng, 2, 3, 4, 6, mean=5.0)
        params, y, _, _ = run(layers.group_norm(3), x)
        parts = [naive(x[..., i : i + 2], (1, 2, 3)) for i in (0, 2, 4)]
        expected = np.concatenate(parts, axis=-1) * np.asarray(params.scale) + np.asarray(
            params.bias
        )
        np.testing.assert_allclose(y, expected, atol=1e-5)
        peer = eqx.nn.GroupNorm(3, 6, eps=1e-5)
        peer = eqx.tree_at(lambda n: (n.weight, n.bias), peer, tuple(params))
        channels_first = jax.vmap(peer)(jnp.moveaxis(x, -1, 1))
        np.testing.assert_allclose(y, jnp.moveaxis(channels_first, 1, -1), atol=1e-5)

    def test_one_group_of_a_vector_is_a_layer_norm(self, rng):
        x = normal(rng, 4, 6)
        y = run(layers.group_norm(1), x)[1]
        np.testing.assert_allclose(y, run(layers.layer_norm(), x)[1], atol=1e-6)

    def test_a_group_for_each_channel_is_an_instance_norm(self, rng):
        x = normal(rng, 2, 3, 3, 4)
        params, y, _, _ = run(layers.instance_norm(), x)
        np.testing.assert_allclose(y, run(layers.group_norm(4), x)[1], atol=1e-6)
        np.testing.assert_allclose(y, naive(x, (1, 2), params.scale, params.bias), atol=1e-5)

    def test_output_is_normalized_far_from_zero(self, rng):
        x = normal(rng, 2, 16, 16, 4, mean=1e4)
        for layer, axes in ((layers.group_norm(1), (1, 2, 3)), (layers.instance_norm(), (1, 2))):
            np.testing.assert_allclose(run(layer, x, moved=False)[1], naive(x, axes), atol=2e-5)

    def test_refuses_groups_that_do_not_divide(self):
        with pytest.raises(
            ValueError, match="expected channels that 4 groups divide evenly, got 6"
        ):
            layers.group_norm(4).init(KEY, jnp.zeros((2, 3, 6)))
        with pytest.raises(ValueError, match="expected at least one group, got 0"):
            layers.group_norm(0)
        with pytest.raises(ValueError, match="expected positions to take a mean of"):
            layers.instance_norm().init(KEY, jnp.zeros((2, 0, 3)))


@pytest.mark.parametrize(
    "build",
    [layers.layer_norm, layers.rms_norm, lambda: layers.group_norm(2), layers.instance_norm],
)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_narrow_inputs_have_float32_statistics(rng, build, dtype):
    """Squares of 300 overflow in float16, and sums of many numbers stand still in bfloat16."""
    layer = build()
    x = jnp.asarray(300 * rng.normal(size=(2, 16, 16, 8)), dtype)
    _, y, _, cache = run(layer, x, moved=False)
    assert {str(leaf.dtype) for leaf in cache[1:]} == {"float32"}
    wide = layer.forward(layer.init(KEY, x)[0], (), x.astype(jnp.float32), None)[0]
    ulp = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float32), wide, rtol=ulp, atol=ulp / 100)


@pytest.mark.parametrize(
    "build",
    [
        layers.layer_norm,
        layers.rms_norm,
        lambda **o: layers.group_norm(2, **o),
        layers.instance_norm,
    ],
)
@pytest.mark.parametrize("eps", [0.0, -1.0, np.nan])
def test_refuses_an_eps_that_keeps_nothing_from_zero(build, eps):
    with pytest.raises(ValueError, match="expected eps > 0"):
        build(eps=eps)
