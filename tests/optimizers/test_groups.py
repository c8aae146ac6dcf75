"""Path rules: masks, groups, and the table that shows them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers, optimizers
from fnn.optimizers import (
    adam,
    compose,
    decay_weights,
    freeze,
    groups,
    hyperparameters,
    masked,
    resolve,
    scale,
    sgd,
    with_hyperparameters,
)
from fnn.tree import paths


@pytest.fixture
def params(key):
    net = chain(
        stem=layers.linear(4), norm=layers.layer_norm(), act=layers.relu(), head=layers.linear(2)
    )
    return net.init(key, jnp.ones((2, 3)))[0]


def ones(params):
    return jax.tree.map(jnp.ones_like, params)


def step(optimizer, params, state=None):
    """One step along gradients of ones, and what each parameter moved by, by path."""
    state = optimizer.init(params) if state is None else state
    updates, state = optimizer.update(ones(params), state, params)
    return {
        path: np.unique(np.round(np.float64(u), 6)).tolist() for path, u in paths(updates)
    }, state


RULES = {"*/b": sgd(0.1), "head/*": freeze(), "*": sgd(0.3)}


class TestGroups:
    def test_the_first_rule_that_matches_wins(self, params):
        moved, state = step(groups(RULES), params)
        assert moved == {
            "stem/w": [-0.3],
            "stem/b": [-0.1],
            "norm/scale": [-0.3],
            "norm/bias": [-0.3],
            "head/w": [0.0],
            "head/b": [-0.1],
        }
        assert set(state) == set(RULES)

    def test_each_group_goes_as_it_would_alone(self, params, rng):
        optimizer = groups({"*/b": optimizers.momentum(0.1), "*": adam(0.01)})
        state, alone = optimizer.init(params), {}
        for _ in range(3):
            grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)
            updates, state = optimizer.update(grads, state, params)
            for (path, u), (_, g), (_, p) in zip(
                paths(updates), paths(grads), paths(params), strict=True
            ):
                single = optimizers.momentum(0.1) if path.endswith("/b") else adam(0.01)
                memory = alone.get(path, single.init(p))
                expected, alone[path] = single.update(g, memory, p)
                np.testing.assert_allclose(u, expected, rtol=1e-6)

    def test_slots_are_held_for_a_groups_own_parameters_alone(self, params):
        state = groups({"head/*": freeze(), "*/w": adam(), "*": sgd(0.1)}).init(params)
        slots = [path for path, _ in paths(state) if "/slots/" in path]
        assert slots == ["*/w/moments/slots/mean/stem/w", "*/w/moments/slots/square/stem/w"]

    def test_one_groups_rate_is_addressed_by_its_path(self, params):
        optimizer = groups(RULES)
        state = optimizer.init(params)
        assert {path: float(value) for path, value in hyperparameters(state).items()} == {
            "*/b/rate/hyper/rate": np.float32(0.1),
            "*/rate/hyper/rate": np.float32(0.3),
        }
        one = with_hyperparameters(state, **{"*/b/rate/hyper/rate": 0.5})
        moved, _ = step(optimizer, params, one)
        assert (moved["stem/b"], moved["stem/w"]) == ([-0.5], [-0.3])
        both = with_hyperparameters(state, rate=0.7, **{"*/b/rate/hyper/rate": 0.5})
        moved, _ = step(optimizer, params, both)
        assert (moved["stem/b"], moved["stem/w"]) == ([-0.5], [-0.7])
        with pytest.raises(KeyError, match=r"their paths, .*got \['\*/c/rate/hyper/rate'\]"):
            with_hyperparameters(state, **{"*/c/rate/hyper/rate": 0.5})
        with pytest.raises(ValueError, match="rate finite and at least 0, got -1"):
            with_hyperparameters(state, **{"*/b/rate/hyper/rate": -1.0})

    def test_rates_per_layer_after_one_optimizer(self, params):
        rates = groups({"stem/*": scale(0.1), "*": scale(1.0)})
        moved, _ = step(compose(descent=sgd(1.0), rates=rates), params)
        assert (moved["stem/w"], moved["head/w"]) == ([-0.1], [-1.0])

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ({}, "at least one rule"),
            ({"*/biases": freeze(), "*": freeze()}, r"'\*/biases'; the paths are .*'head/w'"),
            ({"*/w": freeze()}, r"none for '.*/(b|scale|offset)' in \['\*/w'\]"),
            ({"*": freeze(), "*/b": freeze()}, r"got \['\*/b'\] after rules that take all"),
        ],
    )
    def test_rules_that_do_not_fit(self, params, rules, message):
        with pytest.raises(ValueError, match=message):
            groups(rules).init(params)

    def test_another_ones_state(self, params):
        with pytest.raises(
            ValueError, match=r"this optimizer's state, of \['\*'\], got one of \['rate'\]"
        ):
            groups({"*": sgd(0.1)}).update(params, sgd(0.1).init(params), params)


class TestResolve:
    def test_shows_every_parameter_with_its_group(self, params):
        table = resolve(RULES, params)
        rows = {p.path: (p.group, p.shape, p.size) for p in table.parameters}
        assert rows["stem/w"] == ("*", (3, 4), 12)
        assert rows["head/b"] == ("*/b", (2,), 2)
        assert [path for path, _ in paths(params)] == list(rows)
        lines = str(table).splitlines()
        assert lines[0].split() == ["parameter", "group", "shape", "elements"]
        assert ["head/w", "head/*", "(4,", "2)", "8"] in [line.split() for line in lines]
        assert lines[-1].split() == ["all", "34"]
        assert ["*/b", "6"] in [line.split() for line in lines]

    def test_the_rest_may_be_nothing(self, params):
        table = resolve({"stem/*": 1, "norm/*": 2, "head/*": 3, "*": 4}, params)
        assert {p.group for p in table.parameters} == {"stem/*", "norm/*", "head/*"}


class TestMasked:
    def test_others_pass_and_hold_no_slots(self, params):
        optimizer = masked(optimizers.momentum(0.1), "head/*")
        moved, state = step(optimizer, params)
        assert (moved["head/w"], moved["stem/w"]) == ([-0.1], [1.0])
        held = [path for path, _ in paths(state) if "slots" in path]
        assert held == ["trace/slots/trace/head/w", "trace/slots/trace/head/b"]

    @pytest.mark.parametrize(
        "where",
        [
            ("stem/w", "head/w"),
            "*/w",
            ("!norm/*", "!*/b", "*"),
            lambda path, p: p.ndim > 1,
            lambda path, p: path.endswith("w"),
        ],
    )
    def test_the_forms_of_a_rule(self, params, where):
        moved, _ = step(decay_weights(1.0, where), jax.tree.map(jnp.ones_like, params))
        assert {path for path, u in moved.items() if u == [2.0]} == {"stem/w", "head/w"}
        assert {path for path, u in moved.items() if u == [1.0]} == moved.keys() - {
            "stem/w",
            "head/w",
        }

    def test_a_pattern_that_matches_nothing(self, params):
        for where in ("*/biases", ("!*/biases", "*")):
            with pytest.raises(ValueError, match=r"got '\*/biases'; the paths are .*'stem/w'"):
                masked(sgd(0.1), where).init(params)

    def test_a_parameter_without_a_name(self):
        p = jnp.ones(3)
        updates, _ = masked(sgd(0.1), "*").update(p, masked(sgd(0.1), "*").init(p), p)
        np.testing.assert_allclose(updates, -0.1)


@pytest.mark.parametrize("where", [("*", "!*/b"), ("stem/*", "!stem/b", "*")])
def test_a_pattern_that_comes_too_late(params, where):
    """The first that matches decides, so that the biases would decay after all."""
    with pytest.raises(ValueError, match=r"decide a parameter each, got \['!.*/b'\] after others"):
        masked(scale(0.0), where).init(params)


def test_patterns_that_select_nothing(params):
    with pytest.raises(
        ValueError, match=r"expected a pattern of what to select, got only \['!\*/b'\]"
    ):
        masked(scale(0.0), "!*/b").init(params)


@pytest.mark.parametrize(
    "make", [lambda: compose(move=adam), lambda: groups({"*": adam})], ids=["compose", "groups"]
)
def test_the_function_instead_of_what_it_makes(make):
    with pytest.raises(TypeError, match=r"expected an optimizer, got .*; call it: adam\(…\)"):
        make()


def test_several_rates_for_one(params):
    with pytest.raises(ValueError, match=r"expected rate to be one number, got shape \(8,\)"):
        with_hyperparameters(sgd(0.1).init(params), rate=jnp.ones(8))
