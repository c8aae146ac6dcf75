"""Float16 with a scaled loss: small gradients survive, overflows are skipped, a sick network is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, equal

from fnn import chain, compose, layers, losses, optimizers, pure, train

GRADIENTS = [
    "hand",
    pytest.param("auto", marks=pytest.mark.slow),
    pytest.param("both", marks=pytest.mark.slow),
]
NET = chain(hidden=layers.linear(8), act=layers.tanh(), logits=layers.linear(3))


def half(net):
    return compose.mixed(net, jnp.float16)


def begun(net, optimizer, key, x):
    return train.init(net, optimizer, key, x[:8])


@pytest.fixture
def faint():
    """A loss of gradients around 1e-9, far below the smallest float16, 6e-8."""
    return LOSS._replace(
        forward=lambda y, t: (LOSS.forward(y * 1e-9, t)[0], (y * 1e-9, t)),
        backward=lambda cache, dlosses: (
            LOSS.backward(LOSS.forward(*cache)[1], dlosses) * np.float32(1e-9)
        ),
    )


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_below_float16_survive(examples, key, faint, gradient):
    """Against the step in float32."""
    net, rate = half(NET), 1e6
    scaled = train.loss_scaling(optimizers.sgd(rate), 2.0**20, ceiling=2.0**20)
    plain = optimizers.sgd(rate)
    start = begun(net, plain, key, examples[0])
    wide, _ = train.step(NET, faint, plain)(train.copy(start), examples)
    lost, _ = train.step(net, faint, plain, gradient=gradient)(train.copy(start), examples)
    kept, info = train.step(net, faint, scaled, gradient=gradient)(
        begun(net, scaled, key, examples[0]), examples
    )
    equal(lost.params["hidden"], start.params["hidden"])
    moved, wanted = (
        np.asarray(after.params["hidden"].w - start.params["hidden"].w) for after in (kept, wide)
    )
    assert np.linalg.norm(wanted) > 1e-5
    assert np.linalg.norm(moved - wanted) < 0.02 * np.linalg.norm(wanted)
    assert info.finite
    assert info.scale == 2.0**20
    assert 1e-10 < info.gradient_norm < 1e-8


@pytest.mark.parametrize(
    ("gradient", "micro_batches"),
    [
        ("hand", 1),
        pytest.param("hand", 2, marks=pytest.mark.slow),
        pytest.param("auto", 1, marks=pytest.mark.slow),
        pytest.param("both", 1, marks=pytest.mark.slow),
        pytest.param("auto", 2, marks=pytest.mark.slow),
    ],
)
def test_changes_nothing_in_float32(examples, key, gradient, micro_batches):
    """Five steps, in which the scale doubles twice, bit for bit."""
    optimizer = optimizers.adam(0.01)
    scaled = train.loss_scaling(optimizer, 1024.0, interval=2)
    options = {"batch_size": 16, "steps": 5, "gradient": gradient, "micro_batches": micro_batches}
    plain, info = train.epoch(NET, LOSS, optimizer, **options)(
        begun(NET, optimizer, key, examples[0]), examples
    )
    after, own = train.epoch(NET, LOSS, scaled, **options)(
        begun(NET, scaled, key, examples[0]), examples
    )
    equal((plain.params, plain.optimizer), (after.params, after.optimizer.optimizer))
    equal((info.loss, info.gradient_norm), (own.loss, own.gradient_norm))
    np.testing.assert_array_equal(own.scale, [1024, 1024, 2048, 2048, 4096])
    assert (after.optimizer.good, after.optimizer.skipped) == (1, 0)


def test_the_scale_stops_at_the_ceiling(examples, key):
    scaled = train.loss_scaling(optimizers.sgd(0.1), 4.0, interval=1, ceiling=10.0)
    _, info = train.epoch(NET, LOSS, scaled, batch_size=16, steps=4)(
        begun(NET, scaled, key, examples[0]), examples
    )
    np.testing.assert_array_equal(info.scale, [4, 8, 10, 10])


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_scale_too_large_is_halved_until_the_gradient_fits(examples, key, gradient):
    """From 2²⁴, at which dloss = 2²⁴ / 96 overflows; skipped batches count as steps, and no more."""
    net = half(NET)
    scaled = train.loss_scaling(optimizers.momentum(0.1), 2.0**24, interval=100)
    start = begun(net, scaled, key, examples[0])
    advance = jax.jit(train.step_function(net, LOSS, scaled, gradient=gradient))
    now, skipped = start, 0
    for t in range(12):
        after, info = advance(now, examples)
        assert after.step == t + 1
        assert info.scale == now.optimizer.scale
        if info.finite:
            break
        skipped += 1
        equal((after.params, after.state), (start.params, start.state))
        equal(after.optimizer.optimizer, start.optimizer.optimizer)
        assert after.optimizer.scale == 2.0**24 / 2**skipped
        assert after.optimizer.skipped == skipped
        now = after
    assert 3 <= skipped <= 11
    assert after.optimizer.good == 1
    assert np.any(after.params["hidden"].w != start.params["hidden"].w)


def sometimes(at, value=jnp.inf):
    """An augmentation that spoils a batch where the first draw of its key is below `at`."""

    def augment(key, batch):
        x, target = batch
        return jnp.where(jax.random.uniform(key) < at, jnp.float32(value), x), target

    return augment


def test_fit_goes_on_over_batches_that_overflow(examples, key):
    scaled = train.loss_scaling(optimizers.sgd(0.1), interval=1000)
    run = train.fit(
        NET, LOSS, scaled, begun(NET, scaled, jax.random.key(3), examples[0]), examples,
        epochs=4, batch_size=16, augment=sometimes(0.2),
    )  # fmt: skip
    *_, last = reports = list(run)
    skipped = sum(int((~report.info.finite).sum()) for report in reports)
    assert last.steps == last.train_state.step == 24
    assert 1 <= skipped <= 12
    assert last.train_state.optimizer.skipped == skipped
    assert last.train_state.optimizer.scale == 2.0 ** (15 - skipped)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.train_state.params))
    assert reports[-1].info.loss[reports[-1].info.finite].mean() < reports[0].info.loss[0]


@pytest.mark.parametrize("steps_per_call", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sick_network_is_not_hidden(examples, key, steps_per_call):
    """Three halvings, from 8 to 1, then the end, with the layer and the state before it."""
    bomb = pure("bomb", lambda p, x: (x, ()), lambda p, c, dy: (p, dy * jnp.nan))
    net = chain(hidden=layers.linear(4), bomb=bomb, logits=layers.linear(3))
    scaled = train.loss_scaling(optimizers.sgd(0.1), 8.0)
    start = begun(net, scaled, key, examples[0])
    run = train.fit(
        net, LOSS, scaled, start, examples,
        epochs=2, batch_size=16, steps_per_call=steps_per_call,
    )  # fmt: skip
    expected = r"at step 3: .*a loss scale of 1, which .*the gradient dx of layer bomb \(bomb\)"
    with pytest.raises(train.NonFiniteError, match=expected) as error:
        list(run)
    state = error.value.train_state
    assert (state.step, state.optimizer.scale, state.optimizer.skipped) == (3, 1, 3)
    equal(state.params, start.params)


@pytest.mark.slow
def test_an_overflow_of_the_scaled_gradient_alone_is_named(examples, key):
    """With a floor so high that the scale itself is the fault."""
    net = half(NET)
    scaled = train.loss_scaling(optimizers.sgd(0.1), 2.0**23, floor=2.0**23)
    start = begun(net, scaled, key, examples[0])
    run = train.fit(net, LOSS, scaled, start, examples, epochs=1, batch_size=16)
    expected = r"8\.38861e\+06, which .*its gradient, at index .* -?inf"
    with pytest.raises(train.NonFiniteError, match=expected):
        next(run)


def test_parameters_in_float16(key):
    """They are divided in float32: a gradient of 1e-9 moves a parameter of 1e-3 by a rate of 1e6."""
    net = chain(out=layers.linear(1, bias=False))
    x = jnp.ones((4, 1), jnp.float16)
    loss = losses.Loss(
        "faint",
        lambda y, t: (y[:, 0] * np.float16(0), ()),
        lambda c, dlosses: (dlosses * np.float16(1e-3))[:, None],
    )
    scaled = train.loss_scaling(optimizers.sgd(1e4), 2.0**10)
    start = train.init(net, scaled, key, x)
    after, info = train.step(net, loss, scaled)(train.copy(start), (x, jnp.zeros(4)))
    np.testing.assert_allclose(info.gradient_norm, 1e-3, rtol=2e-3)
    moved = np.asarray(after.params["out"].w, np.float64) - np.asarray(start.params["out"].w)
    np.testing.assert_allclose(moved, -10, rtol=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0.5}, "floor ≤ initial ≤ ceiling"),
        ({"initial": 2.0**30}, "floor ≤ initial ≤ ceiling"),
        ({"floor": 0.0}, "0 < floor"),
        ({"initial": float("nan")}, "0 < floor"),
        ({"growth": 0.5}, r"a growth of at least 1 and a backoff in \(0, 1\), got 0\.5 and 0\.5"),
        ({"backoff": 1.0}, r"got 2\.0 and 1\.0"),
        ({"interval": 0}, "at least one step, got 0"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        train.loss_scaling(optimizers.sgd(0.1), **options)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (optimizers.bfgs(), "one gradient a step, got a Minimizer"),
        (train.loss_scaling(optimizers.sgd(0.1)), "got a LossScaled"),
        (optimizers.adam, r"call it: adam\(…\)"),
    ],
)
def test_refuses_what_is_no_optimizer(optimizer, message):
    with pytest.raises(TypeError, match=message):
        train.loss_scaling(optimizer)


def test_within_another_optimizer_it_is_not_taken_for_one():
    """There, no step would scale the loss, and the gradients would be divided all the same."""
    with pytest.raises(TypeError, match="compose, a: expected an optimizer whose update takes"):
        optimizers.compose(a=train.loss_scaling(optimizers.sgd(0.1)))
