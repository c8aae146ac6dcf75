"""A whole network: every leaf at the point at which it trains, and faults named by their path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import data, lookup, spoiled

from fnn import chain, check, layers, losses, parallel, residual
from fnn.layer import Static, map_layers, pure

X = data(16, 6)
LABELS = np.arange(16) % 3
HIDDEN, NORM, DROP = "trunk/body/hidden", "trunk/body/norm", "trunk/body/drop"


def network():
    body = chain(
        hidden=layers.linear(6),
        norm=layers.batch_norm(),
        act=layers.relu(),
        drop=layers.dropout(0.2),
    )
    return chain(trunk=residual(body), logits=layers.linear(3))


def checked(net, x=X, loss=None, **kwargs):
    params, state = net.init(jax.random.key(0), jax.tree.map(jnp.asarray, x))
    loss = losses.softmax_cross_entropy() if loss is None else loss
    return check.network(net, loss, x, LABELS, params=params, state=state, **kwargs)


def with_faults(net, faults):
    return map_layers(
        lambda path, leaf: spoiled(leaf, faults[path]) if path in faults else leaf, net
    )


def wrong(report):
    return {(entry.path, row.path) for entry in report.entries for row in entry.report.failures}


def bias_too_small(params, cache, dparams, dx, dy):
    return dparams._replace(b=dparams.b * 0.999), dx


def dx_too_large(params, cache, dparams, dx, dy):
    return dparams, dx * 1.001


@pytest.fixture(scope="module")
def right():
    return checked(network())


def test_a_right_network_passes_in_every_entry(right):
    right.raise_if_wrong()
    assert right.ok
    kinds = [(entry.path, entry.kind, entry.parameters) for entry in right.entries]
    assert kinds == [
        (HIDDEN, "linear(6)", 42),
        (NORM, "batch_norm", 12),
        ("trunk/body/act", "relu", 0),
        (DROP, "dropout(0.2)", 0),
        ("logits", "linear(3)", 21),
        ("(loss)", "softmax_cross_entropy", 0),
        ("(whole)", "chain", 75),
    ]


def test_float64_from_numpy_is_taken_as_it_is():
    report = checked(chain(logits=layers.linear(3)), x=np.float64(X))
    assert report.ok, str(report)


def test_the_table_reads_by_column(right):
    lines = str(right).splitlines()
    assert lines[0].startswith("gradients: ok, ")
    assert lines[1].split() == [
        "layer", "kind", "parameters", "reverse", "mode", "forward", "mode", "numerical", "others",
        "verdict",
    ]  # fmt: skip
    assert len({len(line) for line in lines[1:4]}) == 1
    assert lines[3].split()[:3] == [HIDDEN, "linear(6)", "42"]
    last = lines[2 + len(right.entries)]
    assert last.split()[0] == "(whole)"
    assert last.endswith("ok")


def test_faults_deep_inside_are_named_by_their_paths_and_blamed_on_no_other():
    """What lies before a wrong dx receives a wrong dy, and does with it what is right."""
    net = with_faults(network(), {HIDDEN: bias_too_small, NORM: dx_too_large})
    report = checked(net)
    assert not report.ok
    leaves = {(path, leaf) for path, leaf in wrong(report) if path != "(whole)"}
    assert leaves == {(HIDDEN, "params/b"), (NORM, "x")}
    assert ("(whole)", f"params/{HIDDEN}/w") in wrong(report)
    assert ("(whole)", "params/logits/w") not in wrong(report)
    path, row = report.worst
    assert (path, row.path) in leaves
    assert f"{HIDDEN} (linear(6)) params/b: reverse mode at index" in str(report)
    with pytest.raises(check.GradientError, match=HIDDEN):
        report.raise_if_wrong()


def test_a_fault_in_a_container_is_found_in_the_whole():
    net = chain(logits=layers.linear(3))
    report = checked(spoiled(net, dx_too_large))
    assert wrong(report) == {("(whole)", "x")}


def test_a_fault_in_the_loss_is_found_there():
    loss = losses.softmax_cross_entropy()
    halved = loss._replace(backward=lambda cache, dlosses: loss.backward(cache, dlosses) / 2)
    report = checked(layers.linear(3), loss=halved)
    assert {path for path, _ in wrong(report)} == {"(loss)", "(whole)"}
    assert report.entries[0].path == "(network)"


def test_a_fault_that_shows_only_on_the_received_cotangent_is_found():
    """Right on every probe, wrong for a cotangent as small as a mean over a batch sends back."""

    def spoil(params, cache, dparams, dx, dy):
        return dparams, jnp.where(jnp.abs(dy).max() < 0.5, 0.9, 1.0) * dx

    layer = spoiled(layers.linear(3), spoil)
    assert all(row.ok for row in check.reverse_mode(check.trial_of(layer, X)))
    report = checked(chain(logits=layer))
    found = report.entries[0].report
    assert [row.path for row in found.failures if row.method == "reverse mode"] == ["x"]
    assert "given dy" in found.worst.predicate


def test_each_leaf_is_checked_with_the_parameters_key_and_input_that_it_receives():
    seen = {}

    def watch(path, leaf):
        def forward(params, state, x, key):
            y, state, cache = leaf.forward(params, state, x, key)
            return y, state, (Static(path), cache)

        def backward(params, cache, dy):
            if isinstance(dy, np.ndarray):  # the one call outside of jit
                seen[cache[0].value] = params, cache[1]
            return leaf.backward(params, cache[1], dy)

        return leaf._replace(forward=forward, backward=backward)

    net = chain(drop=layers.dropout(0.5), logits=layers.linear(3))
    params, state = net.init(jax.random.key(0), jnp.asarray(X))
    key = jax.random.key(5)
    loss = losses.softmax_cross_entropy()
    watched = map_layers(watch, net)
    check.network(watched, loss, X, LABELS, params=params, state=state, key=key)
    with check.exact():
        _, _, cache = net.forward(params, state, jnp.asarray(X, jnp.float64), key)
    np.testing.assert_allclose(seen["logits"][1].x, cache["logits"].x, rtol=1e-12)
    np.testing.assert_array_equal(seen["logits"][0].w, params["logits"].w)
    keys = [jax.random.key_data(kept.key) for kept in (seen["drop"][1], cache["drop"])]
    np.testing.assert_array_equal(*keys)


def test_integers_trees_and_parallel_arms():
    join = pure(
        "join",
        lambda params, x: (jnp.concatenate([x["a"], x["b"]], 1), ()),
        lambda params, cache, dy: (params, {"a": dy[:, :2], "b": dy[:, 2:]}),
    )
    arms = parallel(a=layers.linear(2), b=layers.tanh())
    report = checked(chain(embed=lookup, arms=arms, join=join), x=np.arange(16) % 7)
    assert report.ok, str(report)
    rows = {entry.path: {row.path for row in entry.report.rows} for entry in report.entries}
    assert rows["embed"] == {"params", "x", "y"}
    assert rows["join"] == {"x/a", "x/b", "y"}
