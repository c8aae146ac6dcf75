"""The doctor's checks one by one, and what a diagnosis is. The table of patients is beside this file."""

import json
import math

import jax
import numpy as np
import pytest
from sick_networks import CROSS_ENTROPY, dense

from fnn import chain, layers, losses, residual
from fnn.diagnostics.doctor import CHECKS, Budget, Diagnosis, Verdict, doctor
from fnn.layer import pure
from fnn.models import linear_classifier
from fnn.optimizers import adam, freeze, groups, lbfgs, sgd
from tests.diagnostics.broken_layers import averaged, summed

SMALL = Budget(examples=100)


def ask(check, net, examples, **options):
    """The verdict of one check."""
    loss = options.pop("loss", CROSS_ENTROPY)
    options.setdefault("budget", SMALL)
    (verdict, *_) = doctor(net, loss, examples, checks=(check,), **options).verdicts
    return verdict


@pytest.fixture(scope="module")
def vectors():
    """60 examples of three classes, in eight features."""
    rng = np.random.default_rng(0)
    y = np.arange(60, dtype=np.int32) % 3
    x = rng.normal(size=(60, 8)) + 3 * np.eye(8)[y]
    return x.astype(np.float32) - 0.4, y


def test_a_diagnosis_is_a_table_and_strict_json():
    verdicts = (
        Verdict("data", "ok", "mean 0"),
        Verdict("rate", "not asked", "no optimizer was given"),
        Verdict("signals", "sick", "all are 0", "dead units", "act_1", "lower the rate", math.nan),
    )
    sick, well = Diagnosis(verdicts), Diagnosis(verdicts[:2])
    assert not sick.ok
    assert well.ok
    assert sick.illnesses == ("dead units",)
    assert str(well).startswith("healthy: 1 check")
    page = str(sick).splitlines()
    assert page[0] == "sick: dead units"
    assert page[-1] == "  dead units at act_1: lower the rate"
    known = json.loads(sick.to_json(), parse_constant=pytest.fail)
    assert known["schema"] == "fnn.diagnosis/1"
    assert known["ok"] is False
    assert known["verdicts"][2]["value"] == "NaN"
    assert known["verdicts"][2]["path"] == "act_1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {}}, "params and state together"),
        ({"checks": ("heart",)}, "expected checks of data, .*got \\['heart'\\]"),
        ({"batch_size": 61}, "expected a batch size from 1 to the 60 examples"),
    ],
)
def test_what_cannot_be_asked_raises(vectors, options, message):
    with pytest.raises(ValueError, match=message):
        doctor(linear_classifier(3), CROSS_ENTROPY, vectors, **options)


def test_examples_with_weights_and_minimizers_raise(vectors):
    net, weighted = linear_classifier(3), (*vectors, np.ones(60, np.float32))
    with pytest.raises(ValueError, match=r"expected examples \(x, target\), got 3 entries"):
        doctor(net, CROSS_ENTROPY, weighted)
    with pytest.raises(TypeError, match=r"expected an optimizer whose update .*got a Minimizer"):
        doctor(net, CROSS_ENTROPY, vectors, optimizer=lbfgs())


def test_inputs_of_several_arrays_are_not_looked_at_as_numbers(vectors):
    x, y = vectors
    net = chain(sum=layers.add(), logits=layers.linear(3))
    data = ("data", "leaks", "labels")
    found = doctor(net, CROSS_ENTROPY, ((x, x), y), checks=data, budget=SMALL).verdicts
    assert [each.status for each in found] == ["not asked"] * 3


def test_an_optimizer_that_is_none_raises(vectors):
    with pytest.raises(TypeError, match=r"doctor: expected an optimizer.*adam\(…\)"):
        doctor(linear_classifier(3), CROSS_ENTROPY, vectors, optimizer=adam)


class TestData:
    @pytest.mark.parametrize(
        ("change", "illness"),
        [
            (lambda x: x, ""),
            (lambda x: x + 10, "data not centred"),
            (lambda x: x * 1000, "data not scaled"),
            (
                lambda x: x * np.where(np.arange(8) == 3, 1e4, 1e-1).astype(np.float32),
                "data not scaled",
            ),
            (
                lambda x: np.where(np.arange(60)[:, None] == 5, np.nan, x).astype(np.float32),
                "data not finite",
            ),
        ],
    )
    def test_numbers(self, vectors, change, illness):
        x, y = vectors
        verdict = ask("data", linear_classifier(3), (change(x), y))
        assert verdict.illness == illness
        assert verdict.status == ("sick" if illness else "ok")

    def test_what_is_not_finite_is_placed_and_stops_the_rest(self, vectors):
        x, y = vectors
        x = x.copy()
        x[5, 2] = np.inf
        diagnosis = doctor(linear_classifier(3), CROSS_ENTROPY, (x, y), budget=SMALL)
        assert diagnosis.illnesses == ("data not finite",)
        assert "example 5" in diagnosis.verdicts[0].found
        asked = {v.check for v in diagnosis.verdicts if v.status != "not asked"}
        assert asked == {"data", "classes", "leaks"}
        assert {v.check for v in diagnosis.verdicts} == set(CHECKS)

    def test_labels_out_of_range_and_rare_classes(self, vectors):
        x, y = vectors
        net = linear_classifier(3)
        assert ask("classes", net, (x, y)).status == "ok"
        beyond = ask("classes", net, (x, y + 1))
        assert (beyond.illness, beyond.value) == ("labels out of range", 3)
        rare = ask("classes", net, (x, np.where((y == 2) & (np.arange(60) > 3), 0, y)))
        assert rare.illness == "class imbalance"
        assert rare.value == 39

    def test_copies_and_leaks(self, vectors):
        x, y = vectors
        net = linear_classifier(3)
        assert ask("leaks", net, (x, y)).status == "ok"
        twice = ask("leaks", net, (np.concatenate([x, x[:6]]), np.concatenate([y, y[:6]])))
        assert (twice.illness, twice.value) == ("duplicates", 6 / 66)
        leak = ask("leaks", net, (x, y), validation=(x[:6], y[:6]))
        assert leak.illness == "leak: exact duplicates"

    def test_labels_that_have_to_do_with_the_inputs(self, vectors):
        verdict = ask("labels", linear_classifier(3), vectors)
        x, y = vectors
        rows = (x - x.mean(0)) / np.linalg.norm(x - x.mean(0), axis=1, keepdims=True)
        right = [
            y[max((j for j in range(60) if j != i), key=lambda j: rows[i] @ rows[j])] == y[i]
            for i in range(60)
        ]
        assert verdict.status == "ok"
        assert verdict.value == np.mean(right)


class TestLoss:
    def test_a_loss_an_example_is_right(self, vectors):
        assert ask("loss reduction", linear_classifier(3), vectors).status == "ok"

    def test_a_sum_over_the_batch_is_named_with_its_factor(self, vectors):
        verdict = ask("loss reduction", linear_classifier(3), vectors, loss=summed())
        assert verdict.illness == "wrong loss reduction"
        assert verdict.value == pytest.approx(0.5)  # half of the examples, half of the factor
        assert "sums over the batch" in verdict.found
        assert "too large" in verdict.advice

    def test_one_number_for_all_is_named_and_stops_the_rest(self, vectors):
        diagnosis = doctor(linear_classifier(3), averaged(), vectors, budget=SMALL)
        assert diagnosis.illnesses == ("wrong loss reduction",)
        assert diagnosis.sick[0].path == "averaged"
        gradient = next(v for v in diagnosis.verdicts if v.check == "gradient")
        assert gradient.status == "not asked"

    def test_the_first_loss_is_held_against_chance(self, vectors):
        net = chain(
            logits=layers.linear(
                3, kernel_init=lambda key, shape, dtype: jax.numpy.zeros(shape, dtype)
            )
        )
        verdict = ask("initial loss", net, vectors)
        assert verdict.status == "ok"
        assert verdict.value == pytest.approx(1, abs=1e-6)
        params, state = net.init(jax.random.key(0), vectors[0])
        large = jax.tree.map(
            lambda p: p + 20 * jax.random.normal(jax.random.key(1), p.shape), params
        )
        verdict = ask("initial loss", net, vectors, params=large, state=state)
        assert verdict.illness == "initial loss too high"

    def test_a_regression_has_no_chance_level(self, vectors):
        x, _ = vectors
        net = chain(y=layers.linear(8))
        verdict = ask("initial loss", net, (x, x), loss=losses.squared_error())
        assert verdict.status == "not asked"
        assert "squared_error" in verdict.found


class TestStructure:
    def maps(self, net, x):
        y = np.zeros(len(x), np.int32)
        return ask("nonlinearity", net, (x, y))

    def test_two_linear_maps_in_a_row(self, vectors):
        x, _ = vectors
        net = chain(a=layers.linear(16), b=layers.linear(3))
        verdict = self.maps(net, x)
        assert verdict.illness == "missing nonlinearity"
        assert verdict.path == "b"
        assert "176 parameters do what 24 can" in verdict.found  # 8·16 + 16·3, 8·3

    @pytest.mark.parametrize(
        "net",
        [
            chain(a=layers.linear(16), act=layers.relu(), b=layers.linear(3)),
            pytest.param(
                chain(
                    a=layers.linear(2), b=layers.linear(16), act=layers.tanh(), c=layers.linear(3)
                ),
                marks=pytest.mark.slow,
            ),
            chain(
                a=layers.linear(8),
                body=residual(chain(b=layers.linear(8), act=layers.relu(), c=layers.linear(8))),
                norm=layers.layer_norm(),
                d=layers.linear(3),
            ),
        ],
        ids=["an activation", "a bottleneck", "a residual"],
    )
    def test_what_is_meant_is_no_finding(self, vectors, net):
        assert self.maps(net, vectors[0]).status == "ok"

    def test_the_units_of_a_layer_of_zeros_are_alike(self, vectors):
        net = dense(kernel=lambda key, shape, dtype: jax.numpy.zeros(shape, dtype), widths=(4,))
        verdict = ask("symmetry", net, vectors)
        assert verdict.illness == "units alike"

    @pytest.mark.parametrize(
        ("size", "illness"),
        [(1, "batch norm over too few"), pytest.param(16, "", marks=pytest.mark.slow)],
    )
    def test_batch_norm_wants_examples(self, vectors, size, illness):
        net = chain(a=layers.linear(4), norm=layers.batch_norm(), b=layers.linear(10))
        verdict = ask("batch norm", net, vectors, batch_size=size)
        assert verdict.illness == illness
        assert verdict.value == size

    @pytest.mark.parametrize(
        ("rate", "illness"),
        [(0.95, "dropout too high"), pytest.param(0.5, "", marks=pytest.mark.slow)],
    )
    def test_dropout_is_measured(self, vectors, rate, illness):
        net = chain(a=layers.linear(16), drop=layers.dropout(rate), b=layers.linear(10))
        verdict = ask("dropout", net, vectors)
        assert verdict.illness == illness
        assert verdict.value == pytest.approx(rate, abs=0.1)


class TestTraining:
    def test_a_parameter_that_the_optimizer_freezes(self, vectors):
        net = chain(a=layers.linear(4), act=layers.relu(), b=layers.linear(3))
        shut = groups({"a/*": freeze(), "*": sgd(0.1)})
        verdict = ask("frozen parameters", net, vectors, optimizer=shut)
        assert verdict.illness == "frozen parameters"
        assert verdict.path.startswith("a/")
        meant = ask("frozen parameters", net, vectors, optimizer=shut, frozen=("a/*",))
        assert meant.status == "ok"
        assert "meant to stay" in meant.found

    @pytest.mark.slow
    def test_a_parameter_that_no_gradient_reaches(self, vectors):
        wall = pure("wall", lambda p, x: (x, ()), lambda p, c, dy: (p, jax.numpy.zeros_like(dy)))
        net = chain(a=layers.linear(4), wall=wall, b=layers.linear(3))
        verdict = ask("frozen parameters", net, vectors)
        assert verdict.illness == "no gradient"
        assert verdict.path.startswith("a/")

    def test_a_rate_is_not_asked_of_no_optimizer_nor_of_a_schedule(self, vectors):
        net = linear_classifier(3)
        assert ask("rate", net, vectors).status == "not asked"
        scheduled = ask("rate", net, vectors, optimizer=sgd(lambda step: 0.1))
        assert scheduled.status == "not asked"
        assert "schedule" in scheduled.found

    @pytest.mark.slow
    def test_twenty_examples_by_heart(self, vectors):
        verdict = ask("overfit", linear_classifier(3), vectors)
        assert verdict.status == "ok"
        assert verdict.value == 0
        deaf = chain(
            dead=layers.linear(3),
            gate=pure("zero", lambda p, x: (0 * x, ()), lambda p, c, dy: (p, 0 * dy)),
        )
        verdict = ask("overfit", deaf, vectors, budget=Budget(overfit_steps=20))
        assert verdict.illness == "cannot overfit"
        assert verdict.value > 0.5
