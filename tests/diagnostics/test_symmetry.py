"""Units that start alike stay alike, and the lint says which do: its verdicts against real training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, repeat, value_and_grad
from fnn.diagnostics import symmetry
from fnn.initializers import constant, he_normal, zeros
from fnn.losses import softmax_cross_entropy


def network(activation, hidden, out):
    return chain(
        hidden=layers.linear(6, kernel_init=hidden),
        act=activation(),
        out=layers.linear(3, kernel_init=out),
    )


def started(net, key, rng):
    """(params, the gradient as a function of params), on a batch of three classes."""
    x, target = rng.normal(size=(30, 5)).astype(np.float32), np.repeat([0, 1, 2], [14, 10, 6])
    params, state = net.init(key, x)
    gradient = jax.jit(
        lambda p: value_and_grad(net, softmax_cross_entropy())(p, state, x, target)[1]
    )
    return params, gradient


def trained(params, gradient, steps=30, rate=0.5):
    for _ in range(steps):
        step = gradient(params)
        params = jax.tree.map(lambda p, g: p - jnp.asarray(rate, p.dtype) * g, params, step)
    return params


def distance(w):
    """How far the units are from the first one."""
    return float(np.abs(np.asarray(w) - np.asarray(w)[:, :1]).max())


def verdicts(report):
    return {(finding.path, finding.side): finding.verdict for finding in report.findings}


# (activation, hidden kernel, last kernel) -> the verdicts, and whether the hidden units learn to differ.
STARTS = {
    "random": (layers.tanh, he_normal, he_normal, {}, True),
    "all constant": (
        layers.tanh, constant(0.3), constant(0.1),
        {("hidden", "incoming"): "stay alike", ("out/w", "outgoing"): "stay alike",
         ("hidden/w", "outgoing"): "separate", ("out", "incoming"): "separate"},
        False,
    ),
    # Half is what a sigmoid gives for 0: the last layer learns, and the hidden one after it.
    "all zero under a sigmoid": (
        layers.sigmoid, zeros, zeros,
        {("hidden", "incoming"): "no gradient", ("out/w", "outgoing"): "stay alike",
         ("hidden/w", "outgoing"): "no gradient", ("out", "incoming"): "separate"},
        False,
    ),
    # What reads the units differs, so each gets a gradient of its own.
    "hidden zero under tanh": (
        layers.tanh, zeros, he_normal,
        {("hidden", "incoming"): "separate", ("hidden/w", "outgoing"): "separate"},
        True,
    ),
    # relu'(0) = 0: nothing comes through.
    "hidden zero under relu": (
        layers.relu, zeros, he_normal,
        {("hidden", "incoming"): "no gradient", ("hidden/w", "outgoing"): "no gradient"},
        False,
    ),
    # The units before it differ, and so do its gradients.
    "last zero": (
        layers.tanh, he_normal, zeros,
        {("out", "incoming"): "separate", ("out/w", "outgoing"): "separate"},
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "hidden", "out", "expected", "differ"), STARTS.values(), ids=STARTS
)
def test_what_the_lint_says_is_what_training_does(
    activation, hidden, out, expected, differ, key, rng
):
    net = network(activation, hidden, out)
    params, gradient = started(net, key, rng)
    report = symmetry(params, gradient(params))
    assert verdicts(report) == expected
    assert report.ok == all(verdict == "separate" for verdict in expected.values())
    assert report.kernels == 2
    end = trained(params, gradient)
    spread = distance(end["hidden"].w)
    assert spread > 0.05 if differ else spread < 1e-5


def test_without_gradients_it_says_so(key, rng):
    params, _ = started(network(layers.tanh, he_normal, zeros), key, rng)
    report = symmetry(params)
    assert verdicts(report) == {("out", "incoming"): "unknown", ("out/w", "outgoing"): "unknown"}
    assert not report.ok
    assert "pass gradients to be told" in str(report)
    assert "all 3 units (0)" in str(report)


def test_duplicates_among_others_are_named(key, rng):
    params, gradient = started(network(layers.tanh, he_normal, he_normal), key, rng)
    w, out = np.array(params["hidden"].w), np.array(params["out"].w)
    w[:, 4] = w[:, 1]
    twice = {**params, "hidden": params["hidden"]._replace(w=jnp.asarray(w))}
    (finding,) = symmetry(twice, gradient(twice)).findings
    assert (finding.path, finding.groups, finding.verdict) == ("hidden", ((1, 4),), "separate")
    out[4] = out[1]
    twice["out"] = params["out"]._replace(w=jnp.asarray(out))
    report = symmetry(twice, gradient(twice))
    assert verdicts(report) == {
        ("hidden", "incoming"): "stay alike",
        ("out/w", "outgoing"): "stay alike",
    }
    assert "1 = 4 of 6" in str(report)
    assert (
        "hidden: 1 = 4 of 6 have equal incoming weights; their gradients on this batch are equal"
        in str(report.findings[0])
    )
    end = trained(twice, gradient)
    assert symmetry(end, gradient(end), tolerance=1e-5).findings[0].groups == ((1, 4),)


def test_biases_tell_units_apart(key, rng):
    params, _ = started(network(layers.tanh, constant(0.3), he_normal), key, rng)
    assert verdicts(symmetry(params))["hidden", "incoming"] == "unknown"
    apart = {**params, "hidden": params["hidden"]._replace(b=jnp.arange(6.0))}
    assert ("hidden", "incoming") not in verdicts(symmetry(apart))


def test_zero_biases_and_scales_are_no_finding(key):
    net = chain(layers.linear(4), layers.layer_norm(), layers.prelu(), layers.bias())
    params, _ = net.init(key, jnp.zeros((1, 3)))
    report = symmetry(params)
    assert report.findings == ()
    assert report.ok
    assert str(report) == "no two units alike in 1 kernels"


def test_stacked_biases_and_scales_are_no_kernels(key):
    """Those of a repeat have two axes, and so has the bias of a maxout."""
    block = chain(layers.layer_norm(), layers.linear(4), layers.maxout(4, 3))
    params, _ = chain(repeat(block, 3)).init(key, jnp.zeros((1, 4)))
    assert params["repeat_1"]["block"]["linear_1"].b.shape == (3, 4)
    report = symmetry(params)
    assert report.findings == ()
    assert report.kernels == 2


def test_convolutions_and_recurrences(key):
    """A filter is a unit; a recurrence's kernels count together, so zeros in one of them are enough."""
    net = chain(layers.convolution(4, 3, kernel_init=constant(0.1)))
    params, _ = net.init(key, jnp.zeros((1, 5, 5, 2)))
    assert verdicts(symmetry(params)) == {
        ("convolution_1", "incoming"): "unknown",
        ("convolution_1/w", "outgoing"): "unknown",
    }
    params, _ = chain(cell=layers.lstm(4)).init(key, jnp.zeros((1, 7, 3)))
    names = list(params["cell"]._fields)
    kernels = [name for name in names if params["cell"]._asdict()[name].ndim == 2]
    assert len(kernels) == 2
    half = params["cell"]._replace(
        **{kernels[1]: jnp.zeros_like(getattr(params["cell"], kernels[1]))}
    )
    found = verdicts(symmetry({"cell": half}))
    assert ("incoming" in {side for _, side in found}) is False


def test_nan_and_single_numbers_are_no_finding():
    assert symmetry({"w": jnp.full((3, 4), jnp.nan)}).findings == ()
    numbers = jnp.asarray([[1.0], [2.0], [1.0]])  # one weight for each unit, two equal by chance
    assert symmetry({"w": numbers}).findings == ()
    assert verdicts(symmetry({"w": jnp.ones((3, 1))})) == {("w", "outgoing"): "unknown"}
    assert symmetry({"token": jnp.zeros((1, 8))}).findings == ()


def test_many_units_are_compared_quickly(rng):
    """Sorted by a product, not each with each: 3,000 units would be 4.5 million comparisons."""
    w = rng.normal(size=(20, 3000))
    w[:, 2999] = w[:, 17]
    w[:, 5] = w[:, 17] * (1 + 1e-9)
    (finding,) = symmetry({"w": w}).findings
    assert finding.groups == ((5, 17, 2999),)


def test_equal_units_with_others_between_them(rng):
    """Within a tolerance, the products of equal units differ a little, and many others lie between."""
    w = rng.normal(size=(2, 3000))
    apart = np.asarray([2e-3, -2e-3])
    w[:, 7], w[:, 300] = w[:, 100] + apart, w[:, 100] - apart
    (finding,) = symmetry({"k": w}, tolerance=5e-3 / np.abs(w).max()).findings[:1]
    assert any({7, 100, 300} <= set(group) for group in finding.groups)


def test_gradients_of_another_tree():
    params = {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}
    with pytest.raises(ValueError, match="got b in parameters only"):
        symmetry(params, {"a": jnp.ones((2, 3))})
    with pytest.raises(ValueError, match=r"a: expected a gradient of shape \(2, 3\), got \(3, 2\)"):
        symmetry(params, {"a": jnp.ones((3, 2)), "b": jnp.ones(3)})
