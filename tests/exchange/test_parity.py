"""Parity: two implementations compared layer by layer."""

import jax.numpy as jnp
import numpy as np
import pytest
from torch_convnet import first_last, forward

from fnn import exchange, layers, repeat


def test_parity_names_the_first_layer_that_differs(loaded):
    net, params, state, tensors, x = loaded
    found = exchange.from_torch(net, params, state, tensors)  # the rows of hidden in another order
    output, normal = forward(tensors, x)
    seen = {"norm": first_last(normal), "act": np.maximum(first_last(normal), 0)}
    report = exchange.parity(net, found.params, found.state, first_last(x), output, seen)
    assert report.first.path == "output"
    assert [row.agrees for row in report.rows] == [True, True, False]
    assert "DIFFERS output" in str(report)
    wrong = found.params | {
        "norm": found.params["norm"]._replace(scale=found.params["norm"].scale + 1)
    }
    report = exchange.parity(net, wrong, found.state, first_last(x), output, seen)
    assert report.first.path == "norm"
    assert "the first that differs: norm (batch_norm)" in str(report)


def test_parity_refuses_what_it_cannot_compare(loaded):
    net, params, state, _, x = loaded
    with pytest.raises(ValueError, match=r"paths of layers, .*'conv'.*got \['cnov'\]"):
        exchange.parity(net, params, state, first_last(x), np.zeros((2, 3)), {"cnov": x})
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got \(2, 4\)"):
        exchange.parity(net, params, state, first_last(x), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"shape \(0, 3\), which proves nothing"):
        exchange.parity(net, params, state, first_last(x)[:0], np.zeros((0, 3)))
    for rtol in (-1e-4, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite tolerance rtol of at least 0"):
            exchange.parity(net, params, state, first_last(x), np.zeros((2, 3)), rtol=rtol)


def test_several_outputs_are_no_single_array(key):
    net, x = layers.rnn(2, carry_out=True), jnp.ones((1, 3, 4))
    params, state = net.init(key, x)
    with pytest.raises(ValueError, match="expected an output of one array, got tuple"):
        exchange.parity(net, params, state, x, net.predict(params, state, x))


def test_numbers_that_are_not_finite_agree_with_themselves_alone(key):
    net, x = layers.linear(2), jnp.ones((1, 1))
    params, state = net.init(key, x)
    params = params._replace(w=jnp.array([[jnp.inf, 1.0]]), b=jnp.zeros(2))
    assert exchange.parity(net, params, state, x, np.array([[np.inf, 1.0]])).agrees
    assert not exchange.parity(net, params, state, x, np.array([[np.inf, np.nan]])).agrees
    assert not exchange.parity(net, params, state, x, np.array([[np.nan, 1.0]])).agrees


def test_blocks_that_repeat_in_parity(key):
    net = repeat(layers.linear(2), 3)
    x = jnp.ones((1, 2))
    params, state = net.init(key, x)
    outputs, y = [], x
    for i in range(3):
        y = y @ params["block"].w[i]
        outputs.append(np.asarray(y))
    report = exchange.parity(net, params, state, x, outputs[-1], {"block": np.stack(outputs)})
    assert report.agrees
