"""Planted faults: each is found, and the right leaf is named for it, and no other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import (
    FAULTS,
    X,
    affine,
    batch_norm,
    data,
    gate,
    layer_norm,
    logistic,
    lookup,
    rectifier,
    soft,
    spoiled,
    square,
)
from selection import few

from fnn import check, layers, losses

RIGHT = {
    layer.name: (layer, x)
    for layer, x in (
        (affine(4), X),
        (rectifier, X),
        (logistic, X),
        (square, X),
        (soft, X),
        (layer_norm, X),
        (batch_norm, X),
        (gate, (X, X)),
        (lookup, np.array([1, 4, 4, 0])),
    )
}


@pytest.mark.parametrize("name", few(RIGHT, 3))
def test_right_layers_pass_for_every_seed(name):
    layer, x = RIGHT[name]
    for seed in range(20):
        drawn = jax.tree.map(
            lambda a, s=seed: data(*a.shape, seed=s) if a.dtype == np.float32 else a, x
        )
        report = check.layer(layer, drawn, seed=seed)
        assert report.ok, str(report)
        assert {row.verdict for row in report.rows} == {"ok"}, str(report)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_its_leaf_named(fault):
    assert check.layer(fault.layer, fault.x, convention=fault.convention).ok
    wrong = spoiled(fault.layer, fault.spoil)
    report = check.layer(wrong, fault.x, convention=fault.convention)
    assert not report.ok
    assert report.worst.path in fault.leaves
    assert {row.path for row in report.failures} == fault.leaves, str(report)
    with pytest.raises(check.GradientError, match=report.worst.path):
        report.raise_if_wrong()


@pytest.mark.parametrize("leaf", ["w", "b", "x"])
@pytest.mark.parametrize("seed", range(3))
def test_an_error_of_1e_8_is_found_in_both_modes(leaf, seed):
    def spoil(params, cache, dparams, dx, dy):
        if leaf == "x":
            return dparams, dx * (1 + 1e-8)
        return dparams._replace(**{leaf: getattr(dparams, leaf) * (1 + 1e-8)}), dx

    trial = check.trial_of(spoiled(affine(4), spoil), X, seed=seed)
    path = leaf if leaf == "x" else f"params/{leaf}"
    for method in (check.reverse_mode, check.forward_mode):
        assert {row.path for row in method(trial) if not row.ok} == {path}


@pytest.mark.parametrize("leaf", ["w", "b", "x"])
def test_size_hides_nothing(leaf):
    """Other checkers multiply their tolerance by the size of the array."""

    def spoil(params, cache, dparams, dx, dy):
        if leaf == "x":
            return dparams, 1.001 * dx
        return dparams._replace(**{leaf: 1.001 * getattr(dparams, leaf)}), dx

    x = data(64, 256)
    path = leaf if leaf == "x" else f"params/{leaf}"
    trial = check.trial_of(spoiled(affine(512), spoil), x)
    for method in (check.reverse_mode, check.forward_mode, check.numerical):
        assert {row.path for row in method(trial) if not row.ok} == {path}
        right = method(check.trial_of(affine(512), x))
        assert all(row.ok for row in right)


def _no_upstream(cache, dlosses):
    logits = cache.logits
    return jax.nn.softmax(logits) - jax.nn.one_hot(cache.target, logits.shape[-1])


def test_a_loss_without_its_upstream_gradient_is_found():
    loss = losses.softmax_cross_entropy()
    target = np.arange(6) % 5
    assert check.loss(loss, X, target).ok
    report = check.loss(loss._replace(backward=_no_upstream), X, target)
    assert {row.path for row in report.failures} == {"x"}
    assert "linearity" in {row.method for row in report.failures}


# The same mistakes, in the layers and losses that people use.
REAL = {
    "linear: bias": (
        layers.linear(3),
        lambda p, c, dp, dx, dy: (dp._replace(b=dp.b * 7 / 6), dx),
        {"params/b"},
    ),
    "linear: weight": (
        layers.linear(5),
        lambda p, c, dp, dx, dy: (dp._replace(w=dp.w.T), dx),
        {"params/w"},
    ),
    "batch_norm: n / (n - 1)": (
        layers.batch_norm(),
        lambda p, c, dp, dx, dy: (dp, dx * 6 / 5),
        {"x"},
    ),
    "softmax: no upstream": (layers.softmax(), lambda p, c, dp, dx, dy: (dp, c.y), {"x"}),
    "tanh: sign": (layers.tanh(), lambda p, c, dp, dx, dy: (dp, -dx), {"x"}),
    "dropout: mask forgotten": (
        layers.dropout(0.5),
        lambda p, c, dp, dx, dy: (dp, jnp.asarray(dy) * 2),
        {"x"},
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_faults_in_the_real_layers_are_found(name):
    layer, spoil, leaves = REAL[name]
    assert check.layer(layer, X).ok
    report = check.layer(spoiled(layer, spoil), X)
    assert {row.path for row in report.failures} == leaves
    assert report.worst.path in leaves
