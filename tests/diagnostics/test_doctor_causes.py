"""What the doctor says of faults that others follow from, and of what is sound but looks like one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, frozen, layers, losses
from fnn import initializers as init
from fnn.diagnostics.doctor import Budget, Diagnosis, Verdict, doctor
from fnn.diagnostics.doctor.causes import ordered
from fnn.diagnostics.doctor.output_checks import of_logits
from fnn.diagnostics.findings import findings
from fnn.diagnostics.health import health
from fnn.layer import pure
from fnn.models import linear_classifier
from fnn.optimizers import adam
from tests.diagnostics import broken_layers as broken

SMALL = Budget(examples=60, steps=12, rates=20, overfit_steps=30)
CROSS_ENTROPY = losses.softmax_cross_entropy()


def ask(check, net, examples, loss=CROSS_ENTROPY, **options):
    """The verdict of one check."""
    found = doctor(net, loss, examples, checks=(check,), budget=SMALL, **options)
    return next(verdict for verdict in found.verdicts if verdict.check == check)


@pytest.fixture(scope="module")
def vectors():
    """60 examples of three classes, in eight features."""
    rng = np.random.default_rng(0)
    y = np.arange(60, dtype=np.int32) % 3
    x = rng.normal(size=(60, 8)) + 3 * np.eye(8)[y]
    return x.astype(np.float32) - 0.4, y


def middle(layer):
    return chain(a=layers.linear(8), middle=layer, b=layers.linear(3))


class TestBackward:
    @pytest.mark.parametrize(
        ("backward", "said"),
        [
            pytest.param(broken.right, "", marks=pytest.mark.slow),
            (broken.summed_away, "dx is float32[20], x is float32[20,8]"),
            (broken.nothing, "dx is None, x is float32[20,8]"),
            (broken.alone, "expected backward to return (dparams, dx)"),
            (broken.misnamed, "its backward raises AttributeError"),
        ],
    )
    def test_the_form_of_gradients_is_asked_before_anything_else(self, vectors, backward, said):
        wanted = ("gradient", "signals")
        net = middle(broken.squash(backward))
        if not said:
            assert ask("gradient", net, vectors).status == "ok"
            return
        found = doctor(net, CROSS_ENTROPY, vectors, checks=wanted, batch_size=20)
        gradient, signals = found.verdicts
        assert (gradient.illness, gradient.path) == ("wrong backward", "middle")
        assert said in gradient.found
        assert (signals.status, "middle" in signals.found) == ("not asked", True)

    def test_parameters_are_held_against_their_gradients(self, vectors):
        right = layers.linear(8)

        def backward(params, cache, dy):
            dparams, dx = right.backward(params, cache, dy)
            return dparams._replace(b=dy), dx

        verdict = ask("gradient", middle(right._replace(backward=backward)), vectors, batch_size=20)
        assert "dparams/b is float32[20,8], params/b is float32[8]" in verdict.found

    def test_a_batch_as_large_as_the_units_hides_no_shape(self, vectors):
        turned = broken.squash(lambda params, s, dy: (params, (dy / s**2).T))
        verdict = ask("gradient", middle(turned), vectors, batch_size=8)
        assert verdict.path == "middle"

    def test_of_several_the_last_is_named_first(self, vectors):
        two = broken.squash(broken.summed_away)
        verdict = ask("gradient", chain(one=two, other=two, b=layers.linear(3)), vectors)
        assert verdict.path == "other"
        assert verdict.found.endswith("and so of one")

    def test_a_loss_too(self, vectors):
        wrong = CROSS_ENTROPY._replace(
            name="mine", backward=lambda cache, dlosses: CROSS_ENTROPY.backward(cache, dlosses)[0]
        )
        verdict = ask("gradient", linear_classifier(3), vectors, wrong)
        assert (verdict.illness, verdict.path) == ("wrong backward", "mine")

    def test_a_loss_whose_gradient_is_not_finite_is_named_and_no_layer(self, vectors):
        wrong = CROSS_ENTROPY._replace(
            name="mine", backward=lambda cache, d: CROSS_ENTROPY.backward(cache, d / 0.0)
        )
        verdict = ask("gradient", linear_classifier(3), vectors, wrong)
        assert (verdict.illness, verdict.path) == ("gradient not finite", "mine")

    def test_the_layer_is_named_that_makes_the_first_nan(self, vectors):
        net = middle(broken.squash(broken.by_zero))
        verdict = ask("gradient", net, vectors)
        assert (verdict.illness, verdict.path) == ("wrong backward", "middle")
        assert "those of jax.vjp are finite" in verdict.found
        assert ask("frozen parameters", net, vectors).status == "not asked"

    @pytest.mark.slow
    def test_an_infinite_derivative_is_no_wrong_backward(self, vectors):
        x, y = vectors
        at_zero = pure("at 0", lambda p, x: (0 * x, ()), lambda p, c, dy: (p, 0 * dy))
        net = chain(a=layers.linear(8), gate=at_zero, middle=broken.root(), b=layers.linear(3))
        verdict = ask("gradient", net, (x, y))
        assert (verdict.illness, verdict.path) == ("gradient not finite", "middle")

    def test_findings_place_the_first_on_the_way_back(self, vectors):
        x, y = vectors
        net = middle(broken.squash(broken.by_zero))
        params, state = net.init(jax.random.key(0), x)
        look = health(net, CROSS_ENTROPY, spectra=0, histogram_sample=1)
        first, *others = findings(look(params, state, x, y))
        assert (first.path, first.kind, first.value) == ("middle", "not finite", 480 + 64 + 8)
        assert "the first on the way back" in first.advice
        assert {each.path for each in others} == {"a"}


class TestOutput:
    @pytest.mark.parametrize(
        ("last", "said"),
        [
            (layers.softmax, "are probabilities"),
            pytest.param(layers.log_softmax, "logarithms of probabilities", marks=pytest.mark.slow),
            pytest.param(layers.sigmoid, "bounded", marks=pytest.mark.slow),
            (layers.relu, "bounded below"),
            pytest.param(lambda: layers.dropout(0.5), "noise", marks=pytest.mark.slow),
            (layers.identity, ""),
        ],
    )
    def test_the_last_layer(self, vectors, last, said):
        verdict = ask("output", chain(a=layers.linear(3), last=last()), vectors)
        assert (verdict.status, verdict.path) == (("sick", "last") if said else ("ok", ""))
        assert said in verdict.found

    def test_a_pooling_is_no_activation(self, vectors):
        def forward(params, x):
            groups = x.reshape(len(x), 3, 200)
            return groups.max(axis=-1), groups

        def backward(params, groups, dy):
            first = jax.nn.one_hot(groups.argmax(axis=-1), 200, dtype=dy.dtype)
            return params, (first * dy[..., None]).reshape(len(dy), 600)

        net = chain(a=layers.linear(600), last=pure("largest", forward, backward))
        assert ask("output", net, vectors).status == "ok"

    @pytest.mark.parametrize(
        ("loss", "logits"),
        [
            (losses.softmax_cross_entropy(), True),
            (losses.softmax_cross_entropy(smoothing=0.1), True),
            (losses.cross_entropy(), False),
            (losses.squared_error(), False),
        ],
    )
    def test_which_losses_are_of_logits(self, loss, logits):
        assert of_logits(loss, 3) is logits

    @pytest.mark.parametrize(
        ("net", "loss"),
        [
            (chain(a=layers.linear(3), last=layers.softmax()), losses.cross_entropy()),
            (linear_classifier(3), losses.softmax_cross_entropy(smoothing=0.1)),
        ],
        ids=["probabilities", "smoothed labels"],
    )
    @pytest.mark.slow
    def test_what_is_sound_stays_so(self, vectors, net, loss):
        found = doctor(net, loss, vectors, checks=("output", "overfit"))
        assert found.ok, str(found)

    @pytest.mark.slow
    def test_labels_that_are_right_are_not_enough_where_the_loss_can_be_0(self, vectors):
        cooled = pure("cooled", lambda p, x: (0.05 * x, ()), lambda p, c, dy: (p, 0.05 * dy))
        net = chain(a=layers.linear(3), last=cooled)
        found = doctor(net, CROSS_ENTROPY, vectors, checks=("overfit",))
        assert found.illnesses == ("cannot overfit",)
        assert "0% labels wrong" in found.sick[0].found
        assert "of the loss is left" in found.sick[0].found


class TestCauses:
    def test_what_follows_from_dead_units_says_so_and_stands_behind_them(self):
        given = [
            Verdict("data", "ok", "mean 0"),
            Verdict("signals", "sick", "small", "fading signal", "before", "mend"),
            Verdict("signals", "sick", "0", "fading signal", "act", "mend"),
            Verdict("signals", "sick", "0", "vanishing gradient", "before", "mend"),
            Verdict("signals", "sick", "all", "dead units", "act", "mend", 1.0),
            Verdict("rate", "ok", "0.1"),
        ]
        found = ordered(given, 1, lambda: ["before", "act", "after"])
        assert [each.illness for each in found[:2]] == ["", "dead units"]
        follows = {(each.illness, each.path) for each in found if "follows from" in each.found}
        assert follows == {("fading signal", "act"), ("vanishing gradient", "before")}
        some = [given[4]._replace(value=0.5), *given[:2]]
        assert ordered(some, 1, pytest.fail) == some

    def test_zeros_are_named_where_they_come_first(self, vectors):
        net = chain(
            a=layers.linear(8, kernel_init=init.zeros),
            act=layers.relu(),
            logits=layers.linear(3, kernel_init=init.zeros),
        )
        verdict = ask("symmetry", net, vectors)
        assert verdict.path == "a"
        assert verdict.found.startswith("all 8 units (0) have equal")


class TestTraining:
    def test_the_first_steps_are_looked_at(self, vectors):
        net = chain(a=layers.linear(8), act=layers.relu(), b=layers.linear(3))
        large = ask("updates", net, vectors, optimizer=adam(2.0))
        assert large.illness == "updates too large"
        assert large.value > 1

    def test_frozen_weights_that_were_loaded_are_told_of_alone(self, vectors):
        net = chain(h=frozen(layers.linear(8)), act=layers.relu(), b=layers.linear(3))
        fresh = ask("frozen parameters", net, vectors)
        assert (fresh.illness, fresh.path, fresh.value) == ("frozen at random", "h", 72)
        meant = ask("frozen parameters", net, vectors, frozen=("h/*",))
        params, state = net.init(jax.random.key(5), vectors[0])
        loaded = ask("frozen parameters", net, vectors, params=params, state=state)
        assert [each.status for each in (meant, loaded)] == ["ok", "ok"]
        assert "h is in frozen: 72 numbers stay" in loaded.found

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("rate", "said"), [(1e-3, "neither learns"), (2.5e-3, "hardly lowers")]
    )
    def test_no_rate_is_praised_where_none_helps(self, vectors, rate, said):
        zeros = init.zeros
        net = chain(
            a=layers.linear(8, kernel_init=zeros),
            act=layers.relu(),
            b=layers.linear(3, kernel_init=zeros),
        )
        x, y = vectors
        rare = np.where(np.arange(60) % 4 == 0, 0, y)  # which the last bias can learn
        found = doctor(net, CROSS_ENTROPY, (x, rare), checks=("rate",), optimizer=adam(rate))
        (verdict,) = found.verdicts
        assert verdict.status == "not asked"
        assert said in verdict.found


class TestSaying:
    def test_each_verdict_is_told_as_it_comes(self, vectors):
        told = []
        found = doctor(
            linear_classifier(3),
            CROSS_ENTROPY,
            vectors,
            checks=("data", "classes"),
            said=told.append,
        )
        assert tuple(told) == found.verdicts
        assert told[1].found == "each of 3 classes has 20 examples"

    def test_a_table_has_a_line_a_verdict_whatever_its_width(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "72")
        long = "a first line that is longer than what is left of it\nof two lines " + "and on " * 20
        lines = str(Diagnosis((Verdict("signals", "sick", long, "dead units", "a", "mend it"),)))
        page = lines.splitlines()
        assert page[3].endswith("…")
        assert page[4:6] == ["", "In full:"]
        assert max(map(len, page[4:])) <= 72
        assert "".join(lines.split()).count("".join(long.split())) == 1
        assert page[-1] == "  dead units at a: mend it"

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"loss": losses.softmax_cross_entropy}, r"a Loss, .*call it: softmax_cross_entropy\("),
            ({"net": layers.relu}, "expected a Layer, .*call the constructor"),
            ({"checks": "rate"}, r"checks as a sequence of names, got 'rate'; .*\('rate',\)"),
            ({"frozen": "a/*"}, r"frozen as a sequence of names, got 'a/\*'"),
            ({"said": 3}, "doctor, said: expected a function of"),
        ],
    )
    def test_what_is_no_layer_no_loss_or_no_sequence_raises(self, vectors, changed, message):
        given = {"net": linear_classifier(3), "loss": CROSS_ENTROPY, "examples": vectors, **changed}
        with pytest.raises(TypeError, match=message):
            doctor(given.pop("net"), given.pop("loss"), given.pop("examples"), **given)

    def test_a_loss_without_a_chance_level_says_how_to_give_one(self, vectors):
        own = CROSS_ENTROPY._replace(name="own", chance=None)
        verdict = ask("initial loss", linear_classifier(3), vectors, own)
        assert verdict.status == "not asked"
        assert "Loss(…, chance=…)" in verdict.found
        assert jnp.isfinite(float(verdict.found.split(";")[1].split()[-1]))
