"""Norms of the examples' gradients against those gradients themselves, one example at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import CASES, Case

from fnn import chain, frozen, layers, shared, transposed
from fnn.diagnostics.noise_scale import gradient_noise, noise_scale
from fnn.diagnostics.per_example import per_example_norms
from fnn.losses import nt_xent, softmax_cross_entropy
from fnn.tap import passages

RNG = np.random.default_rng(5)


def text(net, places=6, vocabulary=5):
    ids = RNG.integers(0, vocabulary, (4, places))
    return Case(net, ids, RNG.integers(0, 3, (4, places)))


ALL = {name: case for name, case in CASES.items() if name != "normed"} | {
    "embedding, wide": text(chain(e=layers.embedding(5, 40, padding=2), l=layers.linear(3))),
    "embedding, narrow": text(chain(e=layers.embedding(5, 2, padding=2), l=layers.linear(3)), 9),
    "pairs of places": Case(
        chain(
            bias=layers.bias(),
            wide=layers.linear(60),
            scale=layers.rms_norm(),
            out=layers.linear(3),
        ),
        RNG.normal(size=(4, 3, 20)),
        RNG.integers(0, 3, (4, 3)),
    ),
    "by the layer itself": Case(
        chain(
            groups=layers.convolution(4, 2, groups=2),
            slope=layers.prelu(),
            flat=layers.flatten(),
            out=layers.linear(3),
        ),
        RNG.normal(size=(4, 3, 3, 2)),
        RNG.integers(0, 3, 4),
    ),
    "attention": Case(
        chain(attend=layers.multi_head_attention(2), drop=layers.gelu(), out=layers.linear(3)),
        RNG.normal(size=(3, 4, 4)),
        RNG.integers(0, 3, (3, 4)),
    ),
}
QUICK = ("mlp", "convnet", "embedding, wide", "pairs of places")


def naive(case, params, state, x, target, weights=None):
    """‖g_n‖ by jax.grad of the forward pass of each example alone."""
    share = np.ones(target.shape) if weights is None else weights / weights.sum() * len(x)

    def one(params, x, target, share):
        prediction, _, _ = case.net.forward(params, state, x[None], None)
        losses, _ = case.loss.forward(prediction, target[None])
        each = losses * jnp.asarray(share, losses.dtype)[None]
        return each.sum() / (losses.size if weights is None else 1)

    grads = jax.jit(jax.vmap(jax.grad(one), (None, 0, 0, 0)))(params, x, target, share)
    squares = [
        (np.asarray(g, np.float64) ** 2).reshape(len(x), -1).sum(axis=1)
        for g in jax.tree.leaves(grads)
    ]
    mean = [np.asarray(g, np.float64).mean(axis=0) for g in jax.tree.leaves(grads)]
    return np.sqrt(sum(squares)), sum((g**2).sum() for g in mean)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ALL]
)
def test_they_are_those_of_each_example_alone(name):
    case = ALL[name]
    with jax.enable_x64(True):
        arguments = case.started(np.float64)
        found = per_example_norms(case.net, case.loss)(*arguments)
        norms = found.norms
        expected, mean = naive(case, *arguments)
    # An embedding's table is float32 whatever x is.
    tolerance = 1e-6 if "embedding" in name else 1e-12
    np.testing.assert_allclose(norms, expected, rtol=tolerance)
    np.testing.assert_allclose(found.mean, mean, rtol=10 * tolerance)


def test_in_float32():
    case = ALL["mlp"]
    arguments = case.started()
    found = per_example_norms(case.net, case.loss)(*arguments)
    np.testing.assert_allclose(found.norms, naive(case, *arguments)[0], rtol=1e-6)


def test_weights_count():
    case = ALL["mlp"]
    weights = np.asarray([1, 2, 0, 1, 0.5, 1, 1])
    with jax.enable_x64(True):
        arguments = case.started(np.float64)
        found = per_example_norms(case.net, case.loss)(*arguments, None, weights)
        norms = found.norms
        expected, mean = naive(case, *arguments, weights)
    np.testing.assert_allclose(norms, expected, rtol=1e-12)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("mlp", {"hidden": "norms", "logits": "norms"}),
        ("convnet", {"conv": "product", "next": "product", "logits": "norms"}),
        ("pairs of places", {"bias": "sums", "wide": "pairs", "scale": "sums", "out": "pairs"}),
        ("embedding, wide", {"e": "pairs", "l": "pairs"}),
        ("embedding, narrow", {"e": "one by one", "l": "product"}),
        ("by the layer itself", {"groups": "one by one", "slope": "one by one", "out": "norms"}),
    ],
)
def test_no_more_is_formed_than_is_said(name, ways):
    """Traced alone: which way each layer's norms are found."""
    case = ALL[name]
    look = per_example_norms(case.net, case.loss)
    found = jax.eval_shape(look, *case.started())
    assert dict(found.layers.value) == ways


def test_batch_norm_is_refused_or_gives_shares():
    case = CASES["normed"]
    with jax.enable_x64(True):
        arguments = case.started(np.float64)
        with pytest.raises(ValueError, match=r"norm: batch_norm couples the examples"):
            per_example_norms(case.net, case.loss)(*arguments)
        found = per_example_norms(case.net, case.loss, coupled="shares")(*arguments)
        norm = passages(case.net, case.loss, *arguments)["norm"]
    x, dy = np.asarray(norm.x), np.asarray(norm.dy) * len(arguments[2])
    normalized = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    scale, bias = (dy * normalized).sum((1, 2)), dy.sum((1, 2))
    expected = (scale**2).sum(1) + (bias**2).sum(1)
    paths = [path for path, _ in found.layers.value]
    np.testing.assert_allclose(found.squares[paths.index("norm")], expected, rtol=1e-10)


def test_frozen_parameters_do_not_count():
    net = chain(hidden=frozen(layers.linear(4)), act=layers.tanh(), out=layers.linear(3))
    case = Case(net, RNG.normal(size=(5, 4)), RNG.integers(0, 3, 5))
    found = jax.eval_shape(per_example_norms(net, case.loss), *case.started())
    assert [path for path, _ in found.layers.value] == ["out"]


def test_shared_parameters_are_refused():
    net = shared(
        chain(e=layers.embedding(3, 4), out=layers.linear(3, bias=False)),
        {"out/w": transposed("e/table")},
    )
    case = text(net, vocabulary=3)
    with pytest.raises(ValueError, match="out: parameters that are shared"):
        per_example_norms(net, case.loss)(*case.started())


def test_a_draw_for_the_parameters_is_refused():
    net = chain(hidden=layers.dropconnect(4, 0.5), out=layers.linear(3))
    case = Case(net, RNG.normal(size=(5, 4)), RNG.integers(0, 3, 5))
    with pytest.raises(ValueError, match="key") as caught:
        per_example_norms(net, case.loss)(*case.started(), jax.random.key(0))
    assert any("hidden on a single example" in note for note in caught.value.__notes__)


def test_a_loss_that_compares_examples_is_refused():
    with pytest.raises(ValueError, match="compares examples"):
        per_example_norms(CASES["mlp"].net, nt_xent())


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="'refuse' or 'shares', got 'ignore'"):
        per_example_norms(CASES["mlp"].net, softmax_cross_entropy(), coupled="ignore")


def test_the_noise_scale_of_known_gradients():
    """Of all pairs of batches of b examples, the mean estimates are |G|² and tr Σ exactly."""
    gradients = RNG.normal(size=(6, 3)) + 1
    mean, trace = gradients.mean(0), ((gradients - gradients.mean(0)) ** 2).sum() / 5
    small = (gradients**2).sum(1).mean()
    found = noise_scale(small, 1, (mean**2).sum(), 6)
    np.testing.assert_allclose(found.trace, trace, rtol=1e-6)
    np.testing.assert_allclose(found.gradient, (mean**2).sum() - trace / 6, rtol=1e-6)
    assert np.isinf(noise_scale(1.0, 1, 0.01, 2).scale)
    with pytest.raises(ValueError, match="small_size < large_size"):
        noise_scale(1.0, 2, 1.0, 2)


def test_the_noise_scale_by_parts_and_by_examples():
    """As many parts as examples tell what the norms do, which is what the gradients themselves do."""
    case = ALL["mlp"]
    with jax.enable_x64(True):
        arguments = case.started(np.float64)
        by_examples = per_example_norms(case.net, case.loss)(*arguments).noise
        by_parts = gradient_noise(case.net, case.loss, parts=7)(*arguments)
        norms, mean = naive(case, *arguments)
        scales = (by_parts.scale, by_examples.scale)
    trace = ((norms**2).mean() - mean) * 7 / 6
    np.testing.assert_allclose(by_parts.trace, trace, rtol=1e-10)
    np.testing.assert_allclose(by_examples.trace, trace, rtol=1e-10)
    np.testing.assert_allclose(*scales, rtol=1e-10)
    with pytest.raises(ValueError, match="3 equal parts, got 7"):
        gradient_noise(case.net, case.loss, parts=3)(*case.started())
