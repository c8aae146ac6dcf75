"""Ill networks, each of one illness, and sound ones, of none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, models, optimizers, train
from fnn.diagnostics.findings import Limits, findings
from fnn.diagnostics.health import health
from fnn.diagnostics.updates import step_ratios, update_ratios
from fnn.initializers import constant, he_normal, normal, xavier_normal
from fnn.losses import softmax_cross_entropy

RNG = np.random.default_rng(13)
X = RNG.normal(size=(40, 16)).astype(np.float32)
TARGET = RNG.integers(0, 3, 40)
LOSS = softmax_cross_entropy()


def deep(activation, kernel, depth=6, bias=0.0, width=16):
    blocks = {}
    for i in range(1, depth + 1):
        blocks[f"hidden_{i}"] = layers.linear(width, kernel_init=kernel, bias_init=constant(bias))
        blocks[f"act_{i}"] = activation()
    return chain(**blocks, logits=layers.linear(3))


def looked(net, x=X):
    params, state = net.init(jax.random.key(0), x)
    return health(net, LOSS)(params, state, x, TARGET)


def kinds(found):
    return {(finding.kind, finding.path) for finding in found}


@pytest.mark.parametrize(
    ("net", "kind", "path"),
    [
        (deep(layers.sigmoid, normal(0.3), 8), "vanishing", "hidden_1"),
        (deep(layers.relu, normal(3.0), 5), "exploding", "hidden_1"),
        (deep(layers.tanh, normal(0.01), 4), "fading", "hidden_4"),
        (deep(layers.relu, he_normal, 1, bias=-4.0), "dead", "act_1"),
        (deep(layers.tanh, normal(2.0), 1), "saturated", "act_1"),
        (deep(layers.sigmoid, normal(1e-4), 1, bias=3.0), "constant", "act_1"),
        (deep(layers.tanh, constant(0.05), 1), "collapsed", "hidden_1"),
    ],
    ids=["vanishing", "exploding", "fading", "dead", "saturated", "constant", "collapsed"],
)
def test_each_illness_is_named_where_it_is(net, kind, path):
    health = looked(net)
    found = findings(health)
    assert (kind, path) in kinds(found)
    assert kind.upper() in str(health)
    assert all(finding.advice and np.isfinite(finding.value) for finding in found)


@pytest.mark.parametrize(
    "net",
    [
        deep(layers.relu, he_normal),
        deep(layers.tanh, xavier_normal),
        models.mlp((16, 16), 3),
        chain(
            hidden=layers.linear(16),
            act=layers.gelu(),
            logits=layers.linear(3, kernel_init=constant(0.0)),
        ),
    ],
    ids=["relu", "tanh", "mlp", "logits of 0"],
)
def test_a_sound_network_has_none(net):
    found = looked(net)
    assert findings(found) == []
    lines = str(found).splitlines()
    assert lines[0].startswith("loss ")
    assert len(lines) == 3 + len(found.rows)


def test_a_nan_is_said_once_and_nothing_else_of_its_layers():
    x = X.copy()
    x[3, 4] = np.nan
    found = findings(looked(models.mlp((16,), 3), x))
    assert ("not finite", "hidden_1") in kinds(found)
    assert {finding.kind for finding in found} == {"not finite"}


def test_limits_can_be_given():
    found = findings(looked(deep(layers.tanh, xavier_normal)), limits=Limits(saturated=0.0))
    assert {finding.kind for finding in found} == {"saturated"}


def test_ratios_of_updates():
    params = {"a": {"w": jnp.asarray([3.0, 4.0]), "b": jnp.zeros(2)}, "c": jnp.asarray([1.0])}
    updates = {
        "a": {"w": jnp.asarray([0.3, 0.4]), "b": jnp.asarray([0.0, 1.2])},
        "c": jnp.asarray([1e-5]),
    }
    found = update_ratios(params, updates)
    leaves = found.leaves
    assert np.isnan(leaves["a/b"])
    np.testing.assert_allclose([leaves["a/w"], leaves["c"]], [0.1, 1e-5], rtol=1e-6)
    np.testing.assert_allclose(list(found.groups.values()), [1.3 / 5, 1e-5], rtol=1e-6)
    said = findings(looked(models.mlp((16,), 3)), found)
    assert kinds(said) == {("ratio too large", "a"), ("ratio too small", "c")}
    assert "all of a" in str(found)
    with pytest.raises(ValueError, match="tree and shapes of params"):
        update_ratios(params, {"a": updates["a"]})


def test_the_ratios_of_a_step_are_those_of_the_step():
    net, optimizer = models.mlp((8,), 3), optimizers.adam(1e-3)
    before = train.init(net, optimizer, jax.random.key(0), X)
    found = step_ratios(net, LOSS, optimizer)(before, (X, TARGET))
    old = jax.tree.map(np.asarray, before.params)
    after, _ = train.step(net, LOSS, optimizer)(before, (X, TARGET))
    for name in ("hidden_1", "logits"):
        step = np.asarray(after.params[name].w) - old[name].w
        expected = np.linalg.norm(step) / np.linalg.norm(old[name].w)
        np.testing.assert_allclose(found.leaves[f"{name}/w"], expected, rtol=1e-3)


@pytest.mark.parametrize("activation", [layers.gelu, layers.hard_swish])
def test_units_that_are_on_excuse_dead_ones_of_rectifiers_alone(activation):
    """All others of these are never 0, in sound networks too."""
    net = deep(activation, he_normal, depth=1)
    params, state = net.init(jax.random.key(0), X)
    hidden = params["hidden_1"]
    off = hidden._replace(b=hidden.b.at[:6].set(-40.0))
    look = health(net, LOSS, spectra=0, histogram_sample=1)
    assert findings(look(params, state, X, TARGET)) == []
    (found,) = findings(look(params | {"hidden_1": off}, state, X, TARGET))
    assert (found.kind, found.path, found.value) == ("dead", "act_1", 6 / 16)


def counted(params, depth, x):
    """(dead, always on) units of each layer of rectifiers, but where all that comes in is 0."""
    counts = []
    for i in range(1, depth + 1):
        layer = params[f"hidden_{i}"]
        before = x @ np.asarray(layer.w) + np.asarray(layer.b)
        on, fed = before > 0, before != 0
        seen = fed.any(0)
        counts.append(((~on.any(0) & seen).sum(), ((on == fed).all(0) & seen).sum()))
        x = np.maximum(before, 0)
    return counts


@pytest.mark.parametrize(("width", "depth"), [(8, 6), pytest.param(16, 12, marks=pytest.mark.slow)])
def test_dead_units_are_more_than_depth_alone_leaves(width, depth):
    """In many narrow networks a quarter of a layer is dead, and as many units are always on."""
    net = deep(layers.relu, he_normal, depth, width=width)
    look = health(net, LOSS, spectra=0, histogram_sample=1)

    def asked(seed, bias):
        params, state = net.init(jax.random.key(seed), X)
        for i in range(1, depth + 1):
            layer = params[f"hidden_{i}"]
            params[f"hidden_{i}"] = layer._replace(b=layer.b + bias)
        found = look(params, state, X, TARGET)
        rows = [row for row in found.rows if row.dead is not None]
        assert [(row.dead.sum(), row.always.sum()) for row in rows] == counted(params, depth, X)
        kinds = {each.kind for each in findings(found)}
        return max(row.dead.mean() for row in rows) > Limits().dead, "dead" in kinds

    alarms = []
    for seed in range(20):
        alarms.append(asked(seed, 0.0))
        assert asked(seed, -2.0) == (True, True)
    by_share, by_chance = np.sum(alarms, axis=0)
    assert by_share >= 4
    assert by_chance == 0
