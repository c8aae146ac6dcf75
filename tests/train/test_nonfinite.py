"""What a run says that met a number which is not finite, and the state that it keeps."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, all_finite, equal, network

from fnn import chain, layers, optimizers, pure, train
from fnn.train.nonfinite import first_nonfinite


@pytest.mark.parametrize("place", ["x", "forward", "backward", "loss"])
def test_a_run_that_is_not_finite_stops_and_names_the_layer(examples, start, place):
    def explode(name, factor_forward, factor_backward):
        return pure(
            name,
            lambda p, x: (x * factor_forward, ()),
            lambda p, c, dy: (p, dy * factor_backward),
        )

    x, labels = examples
    bad = {"forward": (np.inf, 1.0), "backward": (1.0, np.nan)}.get(place, (1.0, 1.0))
    net = chain(
        block=chain(hidden=layers.linear(4), bomb=explode("bomb", *bad)),
        logits=layers.linear(3),
    )
    optimizer = optimizers.sgd(0.01)
    state = train.init(net, optimizer, start.key, x)
    if place == "x":
        x = x.at[7, 1].set(jnp.nan)
    loss = LOSS
    if place == "loss":
        loss = LOSS._replace(backward=lambda c, g: jnp.inf * LOSS.backward(c, g))
    expected = {
        "x": r"the input x, at index \(\d+, 1\): nan",
        "forward": r"the output of layer block/bomb \(bomb\), at index",
        "backward": r"the gradient dx of layer block/bomb \(bomb\)",
        "loss": "the loss softmax_cross_entropy or its gradient",
    }[place]
    with pytest.raises(train.NonFiniteError, match=expected) as error:
        list(train.fit(net, loss, optimizer, state, (x, labels), epochs=1, batch_size=16))
    good = error.value.train_state
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(good.params))
    if place != "x":
        equal(good, state)


def run_of(net, start, examples, optimizer=None, loss=LOSS, **options):
    optimizer = optimizer or optimizers.sgd(0.01)
    state = train.init(net, optimizer, start.key, examples[0])
    given = {"epochs": 1, "batch_size": 16} | options
    return state, train.fit(net, loss, optimizer, state, examples, **given)


def test_an_update_that_overflows_leaves_the_last_good_state(examples, start):
    """One weight of many: each step's loss and gradient are finite, and so is the smallest parameter."""

    def update(grads, state, params):
        huge = params["hidden"].w.at[2, 7].set(jnp.where(state == 4, jnp.inf, 0.0))
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros | {"hidden": zeros["hidden"]._replace(w=huge * 1.0)}, state + 1

    optimizer = optimizers.Optimizer(lambda params: jnp.zeros((), jnp.int32), update)
    net = chain(
        hidden=layers.linear(16), act=layers.sigmoid(), logits=layers.linear(3)
    )  # an infinity in front of a sigmoid is a finite 0 or 1
    expected = r"optimizer's update of the parameters hidden/w, at index \(2, 7\): inf"
    for steps in (6, 3):
        _, run = run_of(net, start, examples, optimizer, steps_per_call=steps)
        with pytest.raises(train.NonFiniteError, match=expected) as error:
            list(run)
        good = error.value.train_state
        assert good.step == 4
        assert "stopped at step 4" in str(error.value)
        assert all_finite((good.params, good.state))


def test_a_rate_that_is_not_finite(examples, start):
    optimizer = optimizers.sgd(
        lambda count: jnp.where(count == 3, jnp.inf, 0.01) * jnp.ones(jnp.shape(count))
    )
    _, run = run_of(network(), start, examples, optimizer)
    with pytest.raises(train.NonFiniteError, match="the optimizer's update of the param") as error:
        list(run)
    assert error.value.train_state.step == 3
    assert all_finite(error.value.train_state.params)


def test_parameters_that_overflow_after_a_finite_update(examples, start):
    net = chain(logits=layers.linear(3, bias=False))
    optimizer = optimizers.Optimizer(
        lambda params: (), lambda g, s, p: (jax.tree.map(lambda a: jnp.full_like(a, 3e38), p), s)
    )
    with pytest.raises(train.NonFiniteError, match="finite update, the parameters logits/w"):
        list(run_of(net, start, (examples[0] * 0, examples[1]), optimizer)[1])


def test_the_networks_next_state(examples, start):
    x = examples[0].at[:, 0].multiply(1e20)
    net = chain(norm=layers.batch_norm(), logits=layers.linear(3))
    before, run = run_of(net, start, (x, examples[1]))
    with pytest.raises(train.NonFiniteError, match=r"the network's next state norm/var") as error:
        list(run)
    equal(error.value.train_state, before)


@pytest.mark.parametrize("gradient", ["auto", "both"])
def test_a_gradient_that_only_autodiff_makes_nan(examples, start, gradient):
    @jax.custom_vjp
    def poisoned(x):
        return x

    poisoned.defvjp(lambda x: (x, ()), lambda _, dy: (dy * jnp.nan,))
    bomb = pure("bomb", lambda p, x: (poisoned(x), ()), lambda p, c, dy: (p, dy))
    net = chain(hidden=layers.linear(3), bomb=bomb)
    _, run = run_of(net, start, examples, gradient=gradient)
    with pytest.raises(
        train.NonFiniteError, match=r"jax\.grad derives hidden/w.*the hand-written one is finite"
    ):
        list(run)


def test_a_sum_of_squares_that_overflows(examples, start):
    big = pure("big", lambda p, x: (x, ()), lambda p, c, dy: (p, dy * 1e25))
    net = chain(hidden=layers.linear(3), big=big)
    with pytest.raises(train.NonFiniteError, match="their sum of squares overflows"):
        list(run_of(net, start, examples)[1])


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("target", r"First not finite: the target, at index \(\d+, 1\): inf"),
        ("params", r"First not finite: the parameters hidden/w, at index \(1, 2\): nan"),
        ("state", r"First not finite: the network's state norm/var, at index \(0,\): inf"),
    ],
)
def test_what_was_given_is_named_first(examples, start, place, expected):
    net = chain(hidden=layers.linear(4), norm=layers.batch_norm(), logits=layers.linear(3))
    params, state = net.init(start.key, examples[0])
    target = jax.nn.one_hot(examples[1], 3)
    if place == "target":
        target = target.at[7, 1].set(jnp.inf)
    if place == "params":
        hidden = params["hidden"]
        params["hidden"] = hidden._replace(w=hidden.w.at[1, 2].set(jnp.nan))
    if place == "state":
        state["norm"] = state["norm"]._replace(var=state["norm"].var.at[0].set(jnp.inf))
    found = first_nonfinite(net, LOSS, params, state, examples[0], target, start.key)
    assert re.match(expected, found)


def test_a_parameters_gradient_is_named(examples, start):
    net = network()
    hidden = net.parts["hidden"]

    def backward(params, cache, dy):
        dparams, dx = hidden.backward(params, cache, dy)
        return dparams._replace(b=dparams.b.at[1].set(jnp.nan)), dx

    bad = net.rebuild({**net.parts, "hidden": hidden._replace(backward=backward)})
    found = first_nonfinite(bad, LOSS, start.params, start.state, *examples, start.key)
    assert found.startswith(
        "First not finite: the gradient dparams of layer hidden (linear(16)) b, at index (1,): nan"
    )


@pytest.mark.parametrize(
    ("factor", "place"), [(1e39, r", at index \(\d+,\): inf .*"), (1e38, ", in the mean of all")]
)
def test_a_loss_that_overflows_with_a_finite_gradient(examples, start, factor, place):
    def forward(prediction, target):
        losses, cache = LOSS.forward(prediction, target)
        return (0 * losses + 1) * jnp.float32(factor / 10) * 10, cache

    loss = LOSS._replace(forward=forward)
    net = chain(logits=layers.linear(3))
    expected = f"the loss softmax_cross_entropy{place}; its gradient is finite"
    with pytest.raises(train.NonFiniteError, match=expected):
        list(run_of(net, start, examples, loss=loss)[1])


def test_the_loss_gives_its_reason(examples, start):
    labels = examples[1].at[5].set(9)
    found = first_nonfinite(
        network(), LOSS, start.params, start.state, examples[0], labels, start.key
    )
    assert "labels in [0, 3), got 9 at example (5,)" in found


def test_all_is_finite(examples, start):
    given = (start.params, start.state, *examples, start.key)
    assert first_nonfinite(network(), LOSS, *given) is None


def test_the_step_that_failed_is_run_again_with_its_own_key(examples, start):
    """A layer that draws an infinity at one step in four: with another key it could not be named."""

    def forward(params, state, x, key):
        return jnp.where(jax.random.uniform(key) < 0.25, jnp.inf, 1.0) * x, state, ()

    like = pure("dice", lambda p, x: (x, ()), lambda p, c, dy: (p, dy))
    net = chain(dice=like._replace(forward=forward), logits=layers.linear(3))
    for seed in range(2):
        begun = start._replace(key=jax.random.key(seed))
        with pytest.raises(
            train.NonFiniteError, match=r"the output of layer dice \(dice\), at index"
        ):
            list(run_of(net, begun, examples, epochs=20)[1])
