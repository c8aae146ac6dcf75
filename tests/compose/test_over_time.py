"""A cell over time against closed forms and Python loops."""

import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recurrences import adder, close, run, scaler, zeros

from fnn import Layer, chain, frozen, layers, losses, over_time, pure
from fnn.tap import passages
from fnn.tree import paths


@pytest.fixture
def xs(rng):
    return jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)


@pytest.fixture
def carry(rng):
    return jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_running_sum_has_a_running_sum_for_gradient(xs, carry, rng, reverse):
    dys, dcarry = rng.normal(size=xs.shape), rng.normal(size=carry.shape)  # NumPy's float64
    (last, ys), _, _, (dfirst, dxs) = run(
        over_time(adder(), reverse=reverse), (carry, xs), (dcarry, dys)
    )
    turn = (lambda a: a[:, ::-1]) if reverse else (lambda a: a)
    close(ys, turn(carry[:, None] + np.cumsum(turn(xs), axis=1)))
    close(last, turn(ys)[:, -1])
    expected = dcarry[:, None] + turn(np.cumsum(turn(dys)[:, ::-1], axis=1)[:, ::-1])
    close(dxs, expected)
    close(dfirst, turn(expected)[:, 0])
    assert dxs.dtype == dfirst.dtype == jnp.float32


def test_gradients_of_the_parameters_add_up_over_time(xs, carry):
    """y_t = w x_t (c + w Σ_{s<t} x_s): dw in closed form, by NumPy."""
    w, x, c = 2.0, np.float64(xs), np.float64(carry)
    before = np.cumsum(x, axis=1) - x
    (last, ys), _, dparams, (dfirst, dxs) = run(over_time(scaler()), (carry, xs))
    close(ys, w * x * (c[:, None] + w * before))
    close(last, c + w * x.sum(axis=1))
    close(dparams["cell"], (x * (c[:, None] + 2 * w * before)).sum() + x.sum())
    close(dfirst, 1 + w * x.sum(axis=1))
    after = x.sum(axis=1, keepdims=True) - before - x
    close(dxs, w + w * c[:, None] + w**2 * (before + after))


def test_a_time_axis_in_front(xs, carry):
    turned = jnp.swapaxes(xs, 0, 1)
    (last, ys), _, dparams, (dfirst, dxs) = run(over_time(scaler(), axis=0), (carry, turned))
    expected = run(over_time(scaler()), (carry, xs))
    close(jnp.swapaxes(ys, 0, 1), expected[0][1])
    close(jnp.swapaxes(dxs, 0, 1), expected[3][1])
    close((last, dfirst), (expected[0][0], expected[3][0]))
    close(dparams["cell"], expected[2]["cell"])
    lengths = np.array([1, 4], np.int32)
    found = run(over_time(scaler(), axis=0, lengths=True), (carry, turned, lengths))
    wanted = run(over_time(scaler(), lengths=True), (carry, xs, lengths))
    close(jnp.swapaxes(found[0][1], 0, 1), wanted[0][1])


@pytest.mark.parametrize("lengths", [False, True])
def test_no_steps_at_all(xs, carry, lengths):
    layer = over_time(scaler(), lengths=lengths)
    x = (carry, xs[:, :0], np.array([0, 0], np.int32))[: 2 + lengths]
    (last, ys), state, dparams, dx = run(layer, x)
    assert ys.shape == dx[1].shape == (2, 0, 3)
    close(last, carry)
    close(dx[0], np.ones((2, 3)))
    close(dparams["cell"], 0)
    predicted, _ = layer.predict({"cell": jnp.float32(2)}, state, x)
    close(predicted, carry)


def test_sums_over_time_are_taken_in_float32():
    """1000 times 1 is 256 in bfloat16, where 256 + 1 rounds to 256."""
    xs = jnp.ones((1, 1000, 1), jnp.bfloat16)
    layer = over_time(scaler())
    params = {"cell": jnp.bfloat16(0)}
    x = (jnp.zeros((1, 1), jnp.bfloat16), xs)
    _, _, dparams, _ = run(layer, x, params=params, dy=(jnp.ones((1, 1)), jnp.zeros(xs.shape)))
    assert dparams["cell"].dtype == jnp.bfloat16
    assert float(dparams["cell"]) == 1000


def stateful():
    """Adds noise, counts its calls, and returns both."""

    def init(key, x):
        return (), jnp.zeros((), jnp.int32)

    def forward(params, state, x, key):
        y = x[1] + jax.random.normal(key, x[1].shape)
        return (x[0], y), state + 1, ()

    def backward(params, cache, dy):
        return (), dy

    def predict(params, state, x):
        return (x[0], x[1] + state.astype(x[1].dtype))

    return Layer("stateful", init, forward, backward, predict)


def test_state_goes_on_and_every_step_has_its_key(xs, carry, key):
    layer = over_time(stateful())
    (_, ys), state, _, _ = run(layer, (carry, jnp.zeros_like(xs)), key=key)
    assert int(state["cell"]) == 5
    assert len(np.unique(ys)) == ys.size
    _, ys = layer.predict({"cell": ()}, state, (carry, xs))
    close(ys, xs + 5)


def test_what_is_cut_out_of_the_sequence_is_not_kept_again(xs, carry):
    layer = over_time(scaler())
    params, state = layer.init(jax.random.key(0), (carry, xs))
    program = jax.make_jaxpr(layer.forward)(params, state, (carry, xs), None)
    (loop,) = [e for e in program.eqns if e.primitive.name == "scan"]
    # The last carry; the outputs; the carry before each step, which the cell keeps beside x.
    assert [v.aval.shape for v in loop.outvars] == [(2, 3), (5, 2, 3), (5, 2, 3)]


def test_what_a_frozen_cell_has_is_not_kept_for_every_step(xs, carry):
    layer = over_time(frozen(scaler()))
    params, state = layer.init(jax.random.key(0), (carry, xs))
    (last, ys), new_state, cache = layer.forward(params, state, (carry, xs), None)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    assert max(leaf.size for leaf in jax.tree.leaves(cache)) == xs.size
    assert sum(leaf.ndim == 0 for leaf in jax.tree.leaves(cache)) == 1
    _, dx = layer.backward(params, cache, (jnp.ones_like(last), jnp.ones_like(ys)))
    expected = run(over_time(scaler()), (carry, xs))
    close(ys, expected[0][1])
    close(dx[1], expected[3][1])


def test_the_program_does_not_grow_with_time(carry):
    layer = over_time(scaler())

    def size(steps):
        def both(x):
            params, state = layer.init(jax.random.key(0), x)
            y, _, cache = layer.forward(params, state, x, None)
            return layer.backward(params, cache, y)

        xs = jax.ShapeDtypeStruct((2, steps, 3), jnp.float32)
        return len(str(jax.make_jaxpr(both)((carry, xs))).splitlines())

    assert size(100) == size(2)


def test_a_recurrence_is_itself_a_cell(xs, carry):
    """Sequences of sequences: the outer time is axis 1, the inner one then axis 1 of what is left."""
    nested = over_time(over_time(adder()))
    long = jnp.stack([xs, 2 * xs], axis=1)  # (2, 2, 5, 3)
    (last, ys), _, _, (_, dxs) = run(nested, (carry, long))
    flat = run(over_time(adder()), (carry, long.reshape(2, 10, 3)))
    close(last, flat[0][0])
    close(ys.reshape(2, 10, 3), flat[0][1])
    close(dxs.reshape(2, 10, 3), flat[3][1])


@pytest.mark.parametrize("reverse", [False, True])
def test_each_step_is_a_passage_in_the_order_of_computation(xs, reverse):
    net = chain(rnn=over_time(chain(c=scaler()), initial=zeros, reverse=reverse), out=layers.tanh())
    params, state = net.init(jax.random.key(0), xs)
    assert [path for path, _ in paths(params)] == ["rnn/cell/c"]
    seen = passages(net, losses.squared_error(), params, state, xs, jnp.zeros_like(xs))
    steps = range(5)[::-1] if reverse else range(5)
    assert list(seen) == [*(f"rnn/cell[{t}]/c" for t in steps), "out"]
    for t in range(5):
        passage = seen[f"rnn/cell[{t}]/c"]
        close(passage.x[1], xs[:, t])
        close(passage.y[1], seen["out"].x[:, t])
    every = [seen[f"rnn/cell[{t}]/c"].dparams for t in range(5)]
    y, _, cache = net.forward(params, state, xs, None)
    target = losses.squared_error().forward(y, jnp.zeros_like(xs))
    dlosses = jnp.full((2,), 0.5)
    dparams, _ = net.backward(params, cache, losses.squared_error().backward(target[1], dlosses))
    close(sum(every), dparams["rnn"]["cell"]["c"])


class TestWrongUses:
    def test_of_the_constructor(self):
        with pytest.raises(TypeError, match="over_time: expected a Layer"):
            over_time(layers.tanh)
        with pytest.raises(ValueError, match="axis from the front, got -1"):
            over_time(adder(), axis=-1)

    @pytest.mark.parametrize("run", ["init", "forward", "predict"])
    def test_of_x(self, xs, carry, run):
        lengths = np.array([1, 2], np.int32)
        plain, padded = over_time(adder()), over_time(adder(), lengths=True)

        def call(layer, x):
            trees = {"cell": ()}
            return {
                "init": lambda: layer.init(None, x),
                "forward": lambda: layer.forward(trees, trees, x, None),
                "predict": lambda: layer.predict(trees, trees, x),
            }[run]()

        for layer, x, message in (
            (plain, xs, r"x = \(carry, xs\), a tuple, got float32\[2,5,3\]"),
            (padded, (carry, xs), r"x = \(carry, xs, lengths\), a tuple"),
            (plain, (carry, carry[:, 0]), "equally many steps along axis 1"),
            (plain, (carry, (xs, xs[:, 1:])), "equally many steps along axis 1"),
            (padded, (carry, xs, lengths[:1]), "a length for each of the batch"),
            (plain, (carry[:, :1], xs), "as it takes it"),
        ):
            with pytest.raises(ValueError, match=message):
                call(layer, x)
        with pytest.raises(TypeError, match="lengths of integers"):
            call(padded, (carry, xs, np.float32(lengths)))

    def test_of_the_cell(self, xs, carry):
        net = chain(rnn=over_time(chain(a=layers.linear(2)), initial=zeros))
        with pytest.raises(AttributeError, match="ndim") as error:  # a linear layer takes no tuple
            net.init(jax.random.key(0), xs)
        assert "in layer rnn/cell/a" in "".join(traceback.format_exception(error.value))
        one = pure("one", lambda params, x: (x[0], ()), lambda params, x, dy: (params, dy))
        with pytest.raises(ValueError, match=r"return \(carry, y\), got float32\[2,3\]"):
            over_time(one).init(None, (carry, xs))

    def test_of_trees(self, xs, carry):
        layer = over_time(scaler())
        for call in (layer.forward, lambda p, s, x, key: layer.predict(p, s, x)):
            with pytest.raises(ValueError, match="over_time: expected params for"):
                call({}, {"cell": ()}, (carry, xs), None)
            with pytest.raises(ValueError, match="over_time: expected state for"):
                call({"cell": jnp.float32(2)}, {}, (carry, xs), None)
