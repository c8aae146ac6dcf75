"""LSUV: the output of every layer with a kernel gets a variance of 1 on the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import (
    chain,
    frozen,
    graph,
    layers,
    mixed,
    over_time,
    parallel,
    pure,
    remat,
    repeat,
    residual,
    shared,
    transposed,
)  # fmt: skip
from fnn.initializers import normal
from fnn.lsuv import lsuv
from fnn.tree import paths


def product(params, x):
    """What a layer with this kernel gives: linear, or maxout with its pieces in the middle."""
    w, b = (np.asarray(leaf, np.float64) for leaf in params)
    return (np.einsum("nd,dkf->nkf", x, w) + b).max(axis=1) if w.ndim == 3 else x @ w + b


def mlp(activation, depth=4, width=40):
    """Widths that change, and a start that is far off: fifty times too large."""
    blocks = [
        part
        for i in range(depth)
        for part in (layers.linear(width + 7 * i, kernel_init=normal(2.0)), activation())
    ]
    return chain(*blocks, out=layers.linear(5))


def convnet(activation):
    conv = layers.convolution
    return chain(
        first=conv(8, 3, stride=2), a=activation(),
        block=residual(chain(conv(8, 3), activation(), conv(8, 3))),
        both=parallel(left=conv(8, 1), right=chain(activation(), layers.depthwise_convolution(3))),
        sum=layers.add(), flat=layers.flatten(), out=layers.linear(7),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "numpy"),
    [(layers.relu, lambda y: np.maximum(y, 0)), (layers.tanh, np.tanh)],
    ids=["relu", "tanh"],
)
def test_unit_variance_at_every_layer_of_a_deep_mlp(activation, numpy, key, rng):
    net, x = mlp(activation), (3 * rng.normal(size=(300, 30)) + 1).astype(np.float32)
    params, state = net.init(key, x)
    scaled, report = lsuv(net, params, state, x, key)
    assert [row.path for row in report.rows] == [n for n in params if n[:6] in ("linear", "out")]
    for row in report.rows:
        x = product(scaled[row.path], x)
        assert abs(x.var() - 1) <= 0.1
        np.testing.assert_allclose(row.after, x.var(), rtol=1e-4)
        assert row.scalings == 1  # a product is scaled in one go
        w = np.asarray(scaled[row.path].w, np.float64)
        square = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        np.testing.assert_allclose(square / square[0, 0], np.eye(len(square)), atol=1e-4)
        x = numpy(x)


def test_unit_variance_at_every_layer_of_a_maxout_network(key, rng):
    net = chain(layers.maxout(30), layers.maxout(20, 4), layers.maxout(10), layers.linear(3))
    x = rng.normal(size=(300, 12)).astype(np.float32)
    params, state = net.init(key, x)
    scaled, report = lsuv(net, params, state, x, key)
    for own, row in zip(scaled.values(), report.rows, strict=True):
        x = product(own, x)
        assert abs(x.var() - 1) <= 0.1
        np.testing.assert_allclose(row.after, x.var(), rtol=1e-4)


def test_the_two_scalings_of_two_layers_by_hand(key, rng):
    """Without a key, the kernels that are there are divided by the deviations, first the first."""
    net = chain(a=layers.linear(9), r=layers.relu(), b=layers.linear(4))
    x = rng.normal(size=(50, 6)).astype(np.float32)
    params, state = net.init(key, x)
    scaled, report = lsuv(net, params, state, x, tolerance=1e-3)
    a, b = (np.asarray(params[name].w, np.float64) for name in "ab")
    a_scaled = a / (x @ a).std()
    b_scaled = b / (np.maximum(x @ a_scaled, 0) @ b).std()
    np.testing.assert_allclose(scaled["a"].w, a_scaled, rtol=1e-5)
    np.testing.assert_allclose(scaled["b"].w, b_scaled, rtol=1e-5)
    np.testing.assert_allclose(report.rows[0].before, (x @ a).var(), rtol=1e-5)
    assert scaled["a"].b is params["a"].b


def test_convolutions_residuals_and_parallel_branches(key, rng):
    net, x = convnet(layers.relu), rng.normal(size=(40, 8, 8, 3)).astype(np.float32)
    params, state = net.init(key, x)
    scaled, report = lsuv(net, params, state, x, key)
    assert [row.path for row in report.rows] == [
        "first", "block/body/convolution_1", "block/body/convolution_2", "both/left",
        "both/right/depthwise_convolution_1", "out",
    ]  # fmt: skip
    assert all(abs(row.after - 1) <= 0.1 for row in report.rows)
    y = net.predict(scaled, state, x)
    np.testing.assert_allclose(np.var(y), report.rows[-1].after, rtol=1e-4)
    assert jax.tree.structure(scaled) == jax.tree.structure(params)
    for new, old in zip(jax.tree.leaves(scaled), jax.tree.leaves(params), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)


def test_blocks_of_a_repeat_are_scaled_each_for_itself(key, rng):
    net = repeat(remat(chain(layers.linear(12), layers.tanh())), 3)
    x = rng.normal(size=(100, 12)).astype(np.float32)
    params, state = net.init(key, x)
    scaled, report = lsuv(net, params, state, x, key)
    assert [row.path for row in report.rows] == [f"block/linear_1[{i}]" for i in range(3)]
    for i in range(3):
        y = product(jax.tree.map(lambda leaf, i=i: leaf[i], scaled["block"]["linear_1"]), x)
        assert abs(y.var() - 1) <= 0.1
        np.testing.assert_allclose(report.rows[i].after, y.var(), rtol=1e-4)
        x = np.tanh(y)


def test_a_cell_over_time_is_measured_over_all_steps(key, rng):
    """One kernel, used in five rounds on inputs that grow: their variance together is 1."""
    nodes = {"next": (layers.tanh(), "h"), "y": (layers.linear(4), "x")}
    pair = pure("pair", lambda params, x: ((x["next"], x["y"]), ()), lambda *_: ((), None))
    cell = chain(both=graph(nodes, inputs=("h", "x"), outputs=("next", "y")), pair=pair)
    net = over_time(cell, initial=lambda x: jnp.zeros((x.shape[0], 3)))
    x = (rng.normal(size=(40, 5, 6)) * np.arange(1, 6)[:, None]).astype(np.float32)
    params, state = net.init(key, x)
    scaled, report = lsuv(net, params, state, x, key)
    (row,) = report.rows
    assert row.path == "cell/both/y"
    np.testing.assert_allclose(np.var(x @ scaled["cell"]["both"]["y"].w), row.after, rtol=1e-4)
    assert abs(row.after - 1) <= 0.1


def test_nodes_of_a_graph_in_any_order(key, rng):
    """The second sweep mends what a node before them changed in those that were done first."""
    nodes = {"y": (layers.linear(4), "h"), "h": (layers.linear(5), "x")}
    net, x = graph(nodes, outputs="y"), rng.normal(size=(60, 6)).astype(np.float32)
    params, state = net.init(key, x)
    scaled, report = lsuv(net, params, state, 9 * x, key)
    h = 9 * x @ np.asarray(scaled["h"].w)
    assert abs(h.var() - 1) <= 0.1
    assert abs((h @ np.asarray(scaled["y"].w)).var() - 1) <= 0.1
    assert len(report.rows) == 2


def test_weight_norm_is_scaled_by_its_gain_and_low_precision_keeps_its_dtype(key, rng):
    net = chain(a=layers.weight_norm(layers.linear(9)), b=mixed(layers.linear(6)))
    x = rng.normal(size=(200, 8)).astype(np.float32)
    params, state = net.init(key, 20 * x)
    scaled, report = lsuv(net, params, state, 20 * x, key)
    assert all(abs(row.after - 1) <= 0.1 for row in report.rows)
    assert abs(np.var(net.predict(scaled, state, 20 * x)) - 1) <= 0.1
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    scaled, _ = lsuv(net, half, state, jnp.asarray(20 * x, jnp.bfloat16), key)
    assert {leaf.dtype for leaf in jax.tree.leaves(scaled)} == {jnp.dtype(jnp.bfloat16)}


def test_what_is_left_as_it_is_is_named(key, rng):
    net = shared(
        chain(
            embed=layers.embedding(11, 6), norm=layers.layer_norm(), kept=frozen(layers.linear(6)),
            memory=layers.gru(6), inner=layers.linear(6), head=layers.linear(11, bias=False),
        ),
        {"head/w": transposed("embed/table")},
    )  # fmt: skip
    ids = rng.integers(0, 11, (30, 4))
    params, state = net.init(key, ids)
    scaled, report = lsuv(net, params, state, ids, key)
    assert [row.path for row in report.rows] == ["inner"]
    text = str(report)
    for name in ("embed (embedding", "norm (layer_norm", "memory", "head (linear(11))"):
        assert name in text
    changed = [
        path
        for (path, new), (_, old) in zip(paths(scaled), paths(params), strict=True)
        if new is not old
    ]
    assert changed == ["inner/w"]
    assert "variance before" in text


def test_noise_needs_the_key_and_is_counted(key, rng):
    net = chain(layers.linear(50), drop=layers.dropout(0.5), out=layers.linear(40))
    x = rng.normal(size=(200, 20)).astype(np.float32)
    params, state = net.init(key, x)
    _, report = lsuv(net, params, state, x, key)
    assert abs(report.rows[1].after - 1) <= 0.1
    with pytest.raises(ValueError, match="drop"):
        lsuv(net, params, state, x)


def test_refused(key, rng):
    x = rng.normal(size=(30, 6)).astype(np.float32)
    net = chain(a=layers.linear(5), r=layers.relu(), b=layers.linear(4))
    params, state = net.init(key, x)
    with pytest.raises(ValueError, match=r"output of 'a' to vary.*variance of 0"):
        lsuv(net, params, state, 0 * x, key)
    with pytest.raises(ValueError, match=r"output of 'a' to vary.*variance of nan"):
        lsuv(net, params, state, np.nan * x, key)
    dead = {**params, "a": params["a"]._replace(b=jnp.full(5, -1e6))}
    with pytest.raises(ValueError, match=r"output of 'b' to vary"):
        lsuv(net, dead, state, x, key)
    for given in ({"tolerance": 0.0}, {"tolerance": 1.0}, {"most": 0}):
        with pytest.raises(ValueError, match="a tolerance in"):
            lsuv(net, params, state, x, **given)
    with pytest.raises(ValueError, match="a layer with a kernel w, got none in chain"):
        lsuv(chain(layers.relu()), {"relu_1": ()}, {"relu_1": ()}, x)


def test_a_variance_that_no_kernel_can_mend(key, rng):
    """Biases far apart: the output's variance stays theirs, however small the kernel."""
    net = layers.linear(4, bias_init=normal(100.0))
    x = rng.normal(size=(30, 6)).astype(np.float32)
    with pytest.raises(
        ValueError, match=r"expected the variance of the output of .* after \d+ scalings"
    ):
        lsuv(net, *net.init(key, x), x, most=3)
