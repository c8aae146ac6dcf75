"""What `pure` lifts must give pairs, or says so under its name; what it hands on, jax can hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import backward_pass, chain, forward_pass, layers, pure

X = jnp.ones((2, 3))


def of(forward=lambda params, x: (x, x), backward=lambda params, cache, dy: (params, dy)):
    return pure("mine", forward, backward)


# Two rows would be taken apart as if they were an output and its cache.
@pytest.mark.parametrize("y", [X, (X,), (X, X, X), None])
def test_a_forward_without_a_cache_is_named(y):
    for run in (forward_pass, lambda net, *args: net.predict(*args)):
        with pytest.raises(TypeError, match=r"mine: expected forward to return \(y, cache\), got"):
            run(of(forward=lambda params, x: y), (), (), X)


@pytest.mark.parametrize("gradients", [X, (X,), None])
def test_a_backward_without_two_gradients_is_named_with_its_path(gradients):
    net = chain(first=layers.relu(), own=of(backward=lambda params, cache, dy: gradients))
    params, state = net.init(None, X)
    y, _, cache = net.forward(params, state, X, None)
    with pytest.raises(TypeError, match="mine: expected backward to return") as caught:
        backward_pass(net, params, cache, y)
    assert "own" in str(caught.value.__notes__)


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (layers.embedding(3, 2), np.array([1, 2**32 + 1])),
        (layers.attention(), (*[np.ones((1, 3, 1, 4), np.float32)] * 3, np.array([2**32 + 1]))),
        (layers.lstm(4, lengths=True), (np.ones((1, 3, 4), np.float32), np.array([2**32 + 1]))),
    ],
    ids=["embedding", "attention", "lstm"],
)
def test_an_integer_that_jax_would_cut_to_another_one_is_refused(net, x):
    params, state = net.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"integers that int32 holds, got 4294967297 of int64"):
        net.predict(params, state, x)
