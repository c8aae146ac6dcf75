"""Weights from flax, proved by flax: its modules' outputs are ours, and its variables come back."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fnn import chain, exchange, layers


class Stack(nn.Module):
    """A convnet of linen's auto-named modules."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.Conv(6, (3, 3), strides=2, feature_group_count=2, use_bias=False)(x)
        x = nn.ConvTranspose(3, (3, 3), strides=(2, 2))(x)
        return nn.Dense(5)(x.reshape(len(x), -1))


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.MultiHeadDotProductAttention(num_heads=2)(x)


class Language(nn.Module):
    @nn.compact
    def __call__(self, ids):
        return nn.LayerNorm(epsilon=1e-5)(nn.Embed(7, 4)(ids))


def stack():
    return chain(
        conv_1=layers.convolution(4, 3),
        norm=layers.batch_norm(),
        act=layers.relu(),
        conv_2=layers.convolution(6, 3, stride=2, groups=2, bias=False),
        up=layers.transposed_convolution(3, 3, stride=2),
        flat=layers.flatten(),
        logits=layers.linear(5),
    )


def images(dtype):
    return np.zeros((2, 6, 6, 4), dtype)


def sequence(dtype):
    return np.zeros((2, 3, 4), dtype)


def ids(dtype):
    del dtype
    return np.array([[1, 6, 0], [2, 2, 3]])


# name -> (their module, our network, their input)
SUBJECTS = {
    "convnet": (lambda dtype: Stack(), stack, images),
    "attention": (lambda dtype: Attention(), lambda: layers.multi_head_attention(2), sequence),
    "lstm": (
        lambda dtype: nn.RNN(nn.LSTMCell(3, param_dtype=dtype)),
        lambda: layers.lstm(3),
        sequence,
    ),
    "optimized lstm": (
        lambda dtype: nn.RNN(nn.OptimizedLSTMCell(3, param_dtype=dtype)),
        lambda: layers.lstm(3),
        sequence,
    ),
    "gru": (
        lambda dtype: nn.RNN(nn.GRUCell(3, param_dtype=dtype)),
        lambda: layers.gru(3),
        sequence,
    ),
    "rnn": (
        lambda dtype: nn.RNN(nn.SimpleCell(3, param_dtype=dtype)),
        lambda: layers.rnn(3),
        sequence,
    ),
    "embedding": (
        lambda dtype: Language(),
        lambda: chain(layers.embedding(7, 4), layers.layer_norm()),
        ids,
    ),
    "group norm": (
        lambda dtype: nn.GroupNorm(2, epsilon=1e-5),
        lambda: layers.group_norm(2),
        images,
    ),
    "rms norm": (
        lambda dtype: nn.RMSNorm(epsilon=1e-5),
        lambda: layers.rms_norm(eps=1e-5),
        sequence,
    ),
    "prelu": (lambda dtype: nn.PReLU(), layers.prelu, sequence),
    "upward": (
        lambda dtype: nn.ConvTranspose(3, (4, 3), strides=(2, 1), padding="VALID"),
        lambda: layers.transposed_convolution(3, (4, 3), stride=(2, 1), padding="VALID"),
        images,
    ),
}
QUICK = ("convnet", "attention", "gru")


def drawn(rng, tree, dtype):
    """The same tree with other values, none of which are symmetric; variances stay positive."""
    return jax.tree.map(lambda leaf: (0.5 + rng.uniform(size=leaf.shape)).astype(dtype), tree)


def without_key_bias(variables):
    """In a softmax it cancels, and we have none."""

    def change(path, leaf):
        names = [entry.key for entry in path]
        return np.zeros_like(leaf) if names[-2:] == ["key", "bias"] else leaf

    return jax.tree_util.tree_map_with_path(change, variables)


def check(subject, dtype, tolerance, rng):
    module, net, make = SUBJECTS[subject]
    module, net, x = module(dtype), net(), make(dtype)
    if x.dtype == dtype:
        x = rng.normal(size=x.shape).astype(dtype)
    with jax.numpy_dtype_promotion("standard"):  # flax makes its parameters in float32
        variables = drawn(rng, module.init(jax.random.key(0), x), dtype)
        expected = module.apply(variables, x)
    found = exchange.from_flax(net, *net.init(jax.random.key(1), x), variables)
    np.testing.assert_allclose(
        net.predict(found.params, found.state, x), expected, rtol=tolerance, atol=tolerance
    )
    back = exchange.to_flax(net, found.params, found.state, names=found.taken)
    wanted = dict(without_key_bias(variables))
    assert jax.tree.structure(back) == jax.tree.structure(wanted)
    jax.tree.map(partial(np.testing.assert_array_equal, strict=True), back, wanted)
    reports = exchange.parity(net, found.params, found.state, x, expected)
    assert reports.agrees


@pytest.mark.parametrize(
    "subject",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SUBJECTS],
)
def test_outputs_are_flax_s_and_variables_come_back(subject, rng):
    check(subject, np.float32, 2e-5, rng)


@pytest.mark.slow
@pytest.mark.parametrize("subject", [name for name in SUBJECTS if name != "embedding"])
def test_in_double_precision(subject, rng):
    with jax.enable_x64(True):
        check(subject, np.float64, 1e-12, rng)


def test_sorted_names_are_put_right_for_numbers(key):
    x = jnp.zeros((2, 3))
    net = chain(*[layers.linear(3) for _ in range(12)])
    params, state = net.init(key, x)
    dense = {f"Dense_{i}": {"kernel": np.full((3, 3), i), "bias": np.zeros(3)} for i in range(12)}
    dense = jax.tree.map(lambda a: a.astype(np.float32), dict(sorted(dense.items())))
    found = exchange.from_flax(net, params, state, dense)
    assert [float(found.params[name].w[0, 0]) for name in net.parts] == list(range(12))


def test_a_number_stays_one_and_not_a_row_of_one(key):
    params, state = layers.prelu(slope=0.5).init(key, jnp.zeros((2, 3)))
    written = exchange.to_flax(layers.prelu(), params, state)
    assert written["params"]["negative_slope"].shape == ()
    assert exchange.from_flax(layers.prelu(), params, state, written).params == params


def test_another_network_is_refused_as_a_whole(key):
    x = jnp.zeros((2, 3))
    net = chain(hidden=layers.linear(4), logits=layers.linear(2))
    params, state = net.init(key, x)
    wrong = {
        "Dense_0": {"kernel": np.zeros((3, 5), np.float32), "bias": np.zeros(4, np.float32)},
        "Conv_0": {"kernel": np.zeros((3, 3, 1, 2), np.float32)},
    }
    with pytest.raises(ValueError, match="in flax's layout") as caught:
        exchange.from_flax(net, params, state, {"params": wrong})
    said = str(caught.value)
    assert "missing: logits (linear(2)): kernel (4, 2), bias (2,)" in said
    assert "extra: Conv_0: kernel (3, 3, 1, 2)" in said
    assert "hidden <- Dense_0: kernel: expected (3, 4), got (3, 5)" in said
    with pytest.raises(ValueError, match=r"got \['cache'\] as well"):
        exchange.from_flax(net, params, state, {"params": wrong, "cache": {}})


@pytest.mark.parametrize(
    "layer",
    [
        layers.gru(3, reset="before"),
        layers.multi_head_attention(2, kv_heads=1),
        layers.maxout(3, 2),
        layers.transposed_convolution(4, 3, groups=2),
    ],
)
def test_layers_that_flax_has_not(layer, key):
    x = jnp.zeros((2, 3, 4))
    with pytest.raises(TypeError, match="flax"):
        exchange.to_flax(layer, *layer.init(key, x))
