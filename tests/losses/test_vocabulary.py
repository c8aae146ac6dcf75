"""The loss that never holds its logits: the numbers of the one that does, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import check, layers, losses, optimizers, train
from fnn.compose import chain
from fnn.gradient import value_and_grad
from fnn.losses import Projected


def problem(rng, classes=11, bias=True):
    x = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, classes)), jnp.float32)
    b = jnp.asarray(rng.normal(size=classes), jnp.float32) if bias else None
    return Projected(x, w, b), rng.integers(0, classes, 6)


def both(loss, factors, labels, g):
    values, cache = loss.forward(factors, labels)
    return values, loss.backward(cache, g)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 11, 512])
def test_the_same_as_linear_and_softmax_cross_entropy(rng, chunk, bias):
    """Also where the last block overlaps with the one before."""
    factors, labels = problem(rng, bias=bias)
    g = jnp.asarray(rng.normal(size=6), jnp.float32)
    values, gradient = both(losses.linear_softmax_cross_entropy(chunk), factors, labels, g)
    expected, cache = losses.softmax_cross_entropy().forward(factors.product(), labels)
    dlogits = losses.softmax_cross_entropy().backward(cache, g)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient.x, dlogits @ factors.w.T, atol=1e-5)
    np.testing.assert_allclose(gradient.w, factors.x.T @ dlogits, atol=1e-5)
    if bias:
        np.testing.assert_allclose(gradient.b, dlogits.sum(axis=0), atol=1e-5)
    else:
        assert gradient.b is None


def test_in_a_network_it_is_the_same_training(rng, key):
    x = jnp.asarray(rng.normal(size=(5, 2, 4)), jnp.float32)
    labels = rng.integers(0, 7, (5, 2))
    whole = chain(body=layers.linear(3), head=layers.linear(7))
    parts = chain(body=layers.linear(3), head=losses.projection(7))
    params, state = parts.init(key, x)
    (a, _), da = value_and_grad(parts, losses.linear_softmax_cross_entropy(2))(
        params, state, x, labels
    )
    params = {"body": params["body"], "head": layers.linear(7).init(key, x)[0]._replace(
        w=params["head"].w, b=params["head"].b
    )}  # fmt: skip
    (b, _), db = value_and_grad(whole, losses.softmax_cross_entropy())(params, state, x, labels)
    np.testing.assert_allclose(a, b, rtol=1e-6)
    for got, expected in zip(jax.tree.leaves(da), jax.tree.leaves(db), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_example_of_the_docstring(rng, key):
    """A train step, by hand and by autodiff at once."""
    x, labels = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32), rng.integers(0, 9, 8)
    net = chain(layers.linear(5), layers.relu(), head=losses.projection(9))
    loss = losses.linear_softmax_cross_entropy(4)
    step = train.step(net, loss, optimizers.adam(0.01), gradient="both")
    state = train.init(net, optimizers.adam(0.01), key, x)
    first = None
    for _ in range(5):
        state, info = step(state, (x, labels))
        first = info.loss if first is None else first
        assert info.distance < 1e-5
    assert info.loss < first
    y = net.predict(state.params, state.state, x)
    np.testing.assert_allclose(loss.forward(y, labels)[0].mean(), info.loss, rtol=0.1)
    assert y.product().shape == (8, 9)


def test_memory_of_a_block_in_place_of_the_logits():
    """2 MB of logits, of which autodiff keeps the softmax as well."""
    shapes = Projected(
        *(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((128, 8), (8, 4096), (4096,)))
    )
    labels = jax.ShapeDtypeStruct((128,), jnp.int32)
    loss = losses.linear_softmax_cross_entropy(128)

    def hand(factors, labels):
        values, cache = loss.forward(factors, labels)
        return values, loss.backward(cache, jnp.ones(128))

    def plain(factors, labels):
        logs = jax.nn.log_softmax(factors.product())
        return -jnp.take_along_axis(logs, labels[:, None], axis=1).sum()

    def temporary(f):
        return jax.jit(f).lower(shapes, labels).compile().memory_analysis().temp_size_in_bytes

    assert temporary(hand) * 8 <= temporary(jax.value_and_grad(plain))


def test_classes_that_cannot_be_are_safe_in_both_modes(rng):
    """A whole block of them, and the first one, too."""
    factors, _ = problem(rng)
    factors = factors._replace(b=factors.b.at[:5].set(-jnp.inf))
    labels = np.full(6, 7)
    loss = losses.linear_softmax_cross_entropy(4)
    values, gradient = both(loss, factors, labels, jnp.ones(6))
    expected = losses.softmax_cross_entropy().forward(factors.product(), labels)[0]
    np.testing.assert_allclose(values, expected, atol=1e-6, rtol=1e-5)

    def total(x):
        return loss.forward(factors._replace(x=x), labels)[0].sum()

    for mode in (jax.grad, jax.jacfwd):
        np.testing.assert_allclose(mode(total)(factors.x), gradient.x, atol=1e-5)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_do_not_overflow(rng, size):
    factors, labels = problem(rng, bias=False)
    values, gradient = both(
        losses.linear_softmax_cross_entropy(4),
        factors._replace(x=factors.x * size),
        labels,
        jnp.ones(6),
    )
    assert np.isfinite(values).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_an_ignored_label_does_not_count(rng):
    factors, labels = problem(rng)
    loss = losses.linear_softmax_cross_entropy(4, ignore=-1)
    g = jnp.asarray(rng.normal(size=6), jnp.float32)
    values, gradient = both(loss, factors, np.where([0, 0, 1, 0, 1, 0], -1, labels), g)
    kept = np.asarray([1, 1, 0, 1, 0, 1], np.float32)
    expected, expected_gradient = both(
        losses.linear_softmax_cross_entropy(4), factors, labels, g * kept
    )
    np.testing.assert_allclose(values, expected * kept, rtol=1e-6)
    for got, wanted in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True
    ):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("hard", [np.nan, np.inf, -np.inf])
def test_an_ignored_label_does_not_count_whatever_its_x(rng, hard):
    """By hand, in reverse mode and in forward mode: as if its row were not there."""
    factors, labels = problem(rng)
    loss = losses.linear_softmax_cross_entropy(4, ignore=-1)
    kept = np.asarray([0, 2, 3, 5])
    labels[[1, 4]] = -1
    bad = factors._replace(x=factors.x.at[jnp.asarray([1, 4])].set(jnp.asarray([[0], [hard]])))
    few = factors._replace(x=factors.x[kept])
    expected, wanted = both(loss, few, labels[kept], jnp.ones(4))
    wanted = wanted._replace(x=jnp.zeros((6, 3)).at[kept].set(wanted.x))

    def total(factors):
        return loss.forward(factors, labels)[0].sum()

    values, by_hand = both(loss, bad, labels, jnp.ones(6))
    np.testing.assert_allclose(values, np.zeros(6) + jnp.zeros(6).at[kept].set(expected), rtol=1e-6)
    for gradient in (by_hand, jax.grad(total)(bad)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, wanted)
    moved = jax.jvp(total, (bad,), (jax.tree.map(jnp.ones_like, bad),))[1]
    np.testing.assert_allclose(moved, sum(leaf.sum() for leaf in wanted), rtol=1e-5)


def test_of_ignored_labels_alone_nothing_is_learnt_whatever_the_weights():
    """All of them NaN: a product with a gradient of 0 would be NaN as well."""
    nothing = Projected(*(jnp.full(shape, jnp.nan) for shape in ((2, 3), (3, 5), (5,))))
    loss = losses.linear_softmax_cross_entropy(2, ignore=0)
    values, gradient = both(loss, nothing, np.zeros(2, int), jnp.ones(2))
    np.testing.assert_array_equal(values, [0, 0])
    assert all((np.asarray(leaf) == 0).all() for leaf in gradient)


def test_narrow_activations_over_wide_parameters(rng):
    """Computed in the wider: dw is not rounded to bfloat16."""
    factors, labels = problem(rng)
    narrow = factors._replace(x=factors.x.astype(jnp.bfloat16))
    loss = losses.linear_softmax_cross_entropy(4)
    values, gradient = both(loss, narrow, labels, jnp.ones(6))
    wide = narrow._replace(x=narrow.x.astype(jnp.float32))
    expected, expected_gradient = both(loss, wide, labels, jnp.ones(6))
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(gradient.w, expected_gradient.w)
    assert gradient.x.dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint32, np.int64, np.uint64], ids=str)
def test_labels_of_any_integer_dtype(rng, dtype):
    """Where jax promotes nothing by itself, and holds 64 bits."""
    factors, labels = problem(rng)
    loss = losses.linear_softmax_cross_entropy(chunk=4)

    def run(labels):
        values, cache = loss.forward(factors, labels)
        return values, loss.backward(cache, jnp.ones_like(values))

    expected = run(labels)
    with jax.enable_x64(True):
        jax.tree.map(np.testing.assert_array_equal, run(np.asarray(labels, dtype)), expected)


def test_bad_input(rng):
    factors, labels = problem(rng)
    loss = losses.linear_softmax_cross_entropy()
    with pytest.raises(ValueError, match="a chunk of one class at least, got 0"):
        losses.linear_softmax_cross_entropy(0)
    with pytest.raises(ValueError, match=r"Projected.*losses.projection\(classes\)"):
        loss.forward(factors.product(), labels)
    with pytest.raises(ValueError, match=r"x \(…, D\), w \(D, V\) and b \(V,\) or None, got"):
        loss.forward(factors._replace(b=jnp.zeros(3)), labels)


class TestProjection:
    def test_it_hands_on_what_it_has_and_is_handed(self, rng, key):
        head = losses.projection(5)
        x = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
        check.layer(head, x).raise_if_wrong()
        params, state = head.init(key, x)
        y = head.predict(params, state, x)
        np.testing.assert_allclose(y.product(), x @ params.w + params.b[None], rtol=1e-6)
        assert head.init(key, x)[0].w.shape == layers.linear(5).init(key, x)[0].w.shape

    def test_gradients_are_of_the_dtype_of_what_they_belong_to(self, rng, key):
        head = losses.projection(5)
        x = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
        params, state = head.init(key, x)
        narrow = x.astype(jnp.bfloat16)
        y, _, cache = head.forward(params, state, narrow, None)
        assert [leaf.dtype for leaf in y] == [jnp.bfloat16, jnp.float32, jnp.float32]
        dy = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float16), y)
        dparams, dx = head.backward(params, cache, dy)
        assert (dx.dtype, dparams.w.dtype, dparams.b.dtype) == (
            jnp.bfloat16, jnp.float32, jnp.float32,
        )  # fmt: skip

    def test_bad_input(self, key):
        with pytest.raises(ValueError, match="at least one feature, got 0"):
            losses.projection(0)
        head = losses.projection(5)
        params, state = head.init(key, jnp.zeros((2, 3)))
        with pytest.raises(ValueError, match=r"x of shape \(…, 3\), got \(2, 4\)"):
            head.forward(params, state, jnp.zeros((2, 4)), None)
        with pytest.raises(ValueError, match="a feature at least"):
            head.init(key, jnp.zeros(()))
        with pytest.raises(TypeError, match="floating"):
            head.forward(params, state, jnp.zeros((2, 3), jnp.int32), None)
