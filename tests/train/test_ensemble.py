"""Ensembles: rules with closed forms, and that five networks are no worse than one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS

from fnn import chain, data, layers, losses, models, optimizers, train
from fnn.optimizers import schedules
from fnn.train import ensemble, population

# Two examples, three members, three classes; as odds, so that the probabilities are known fractions.
ODDS = np.array([
    [[1, 1, 2], [6, 1, 1]],
    [[2, 1, 1], [1, 6, 1]],
    [[2, 1, 1], [1, 1, 6]],
])  # fmt: skip
LOGITS = jnp.asarray(np.log(ODDS), jnp.float32)


def test_mean_of_probabilities():
    expected = (ODDS / ODDS.sum(-1, keepdims=True)).mean(0)
    np.testing.assert_allclose(ensemble.mean_probabilities(LOGITS), expected, rtol=1e-6)
    np.testing.assert_allclose(expected[0], [5 / 12, 1 / 4, 1 / 3])


def test_mean_of_logits_is_the_geometric_mean():
    found = jax.nn.softmax(ensemble.mean_logits(LOGITS))
    odds = ODDS.prod(0) ** (1 / 3)
    np.testing.assert_allclose(found, odds / odds.sum(-1, keepdims=True), rtol=1e-6)


def test_votes_and_their_ties():
    shares = ensemble.vote(LOGITS)
    np.testing.assert_allclose(shares, [[2 / 3, 0, 1 / 3], [1 / 3] * 3], rtol=1e-6)
    assert shares[1].argmax() == 0  # of equals, the lowest class
    lost = LOGITS.at[1, :, 0].set(jnp.nan)
    np.testing.assert_allclose(ensemble.vote(lost)[0], [1 / 2, 0, 1 / 2], rtol=1e-6)
    assert np.isnan(ensemble.vote(lost[1:2])).all()


def test_the_rules_can_differ():
    """One who is sure against two who are not: the vote is theirs, the mean the first one's."""
    odds = np.array([[[98, 1, 1]], [[2, 3, 1]], [[2, 3, 1]]])
    logits = jnp.log(jnp.asarray(odds, jnp.float32))
    decisions = [int(ensemble.combine(logits, rule).argmax()) for rule in ("probabilities", "vote")]
    assert decisions == [0, 1]


def test_one_member_is_itself():
    one = LOGITS[:1]
    np.testing.assert_allclose(ensemble.mean_probabilities(one), jax.nn.softmax(one[0]), rtol=1e-6)
    np.testing.assert_array_equal(ensemble.mean_logits(one), one[0])


def test_low_precision_is_combined_in_float32():
    low = jnp.full((300, 1, 2), 1.0, jnp.bfloat16).at[0, 0, 0].set(2.0)
    np.testing.assert_allclose(ensemble.mean_logits(low)[0, 0], 301 / 300, rtol=1e-6)


def test_disagreement_is_the_mean_over_pairs():
    decisions = LOGITS.argmax(-1)
    pairs = [np.mean(decisions[a] != decisions[b]) for a in range(3) for b in range(a)]
    np.testing.assert_allclose(ensemble.disagreement(LOGITS), np.mean(pairs), rtol=1e-6)
    assert ensemble.disagreement(jnp.stack([LOGITS[0], LOGITS[0]])) == 0


def test_uncertainty_is_within_and_between():
    sure = jnp.asarray([[[0.0, -jnp.inf]], [[-jnp.inf, 0.0]]])
    found = ensemble.uncertainty(sure)  # two who are sure of different classes
    np.testing.assert_allclose(jnp.stack(found)[:, 0], [np.log(2), 0, np.log(2)], atol=1e-6)
    p = ODDS / ODDS.sum(-1, keepdims=True)
    entropies = -(p * np.log(p)).sum(-1)
    found = ensemble.uncertainty(LOGITS)
    np.testing.assert_allclose(found.within, entropies.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.total, -(p.mean(0) * np.log(p.mean(0))).sum(-1), rtol=1e-5)


def test_judgement():
    found = ensemble.judge(LOGITS, jnp.array([0, 0]), "vote")
    np.testing.assert_allclose(found.members, [1 / 2, 1 / 2, 1 / 2])
    assert (found.together, found.rule) == (1.0, "vote")
    assert "two of them differ on 83.33%" in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ensemble.combine(LOGITS, "best"), "a rule of .*, got 'best'"),
        (lambda: ensemble.mean_logits(jnp.zeros(3)), r"scores \(M, …, C\)"),
        (lambda: ensemble.vote(jnp.zeros((0, 2, 3))), "at least one member"),
        (lambda: ensemble.disagreement(LOGITS[:1]), "at least two members, got 1"),
        (lambda: ensemble.snapshots([], 0), "at least one step"),
        (lambda: ensemble.snapshots([], 5), "at least one cycle of 5 steps"),
    ],
)
def test_what_is_no_ensemble(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def dropped():
    return chain(
        hidden=layers.linear(4),
        norm=layers.batch_norm(),
        drop=layers.dropout(0.5),
        out=layers.linear(2),
    )


def test_predictions_of_members_and_of_different_networks(examples, key):
    net, keys = dropped(), jax.random.split(key, 2)
    x = examples[0][:8]
    states = [net.init(k, x) for k in keys]
    expected = jnp.stack([net.predict(*both, x) for both in states])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    np.testing.assert_allclose(ensemble.predictions(net, *stacked, x), expected, atol=1e-6)
    listed = [(net, *both) for both in states]
    np.testing.assert_array_equal(ensemble.predictions_of(listed, x), expected)
    other = layers.linear(3)
    with pytest.raises(ValueError, match="one shape"):
        ensemble.predictions_of([*listed, (other, *other.init(key, x))], x)


def test_sampled_predictions_draw_as_training_does_and_normalize_as_predict_does(examples, key):
    net, x = dropped(), examples[0][:8]
    params, state = net.init(key, x)
    state = state | {"norm": state["norm"]._replace(mean=jnp.arange(4.0))}
    found = ensemble.sampled_predictions(net, params, state, x, key, 400)
    assert found.shape == (400, 8, 2)
    hidden = np.asarray(x) @ np.asarray(params["hidden"].w) - np.arange(4)
    hidden = jnp.asarray(hidden / np.sqrt(1 + 1e-5), jnp.float32)
    masked = chain(drop=net.parts["drop"], out=net.parts["out"])
    theirs = {"drop": (), "out": params["out"]}
    first = jax.random.split(key, 400)[0]
    one, _, _ = masked.forward(theirs, {"drop": (), "out": ()}, hidden, first)
    np.testing.assert_allclose(found[0], one, atol=1e-4)
    # Of the sum of w h m / (1/2), m being 0 or 1: the variance is Σ (w h)².
    deviation = np.sqrt((np.asarray(hidden) ** 2) @ (np.asarray(params["out"].w) ** 2) / 400)
    mean = np.asarray(found).mean(0)
    assert (np.abs(mean - np.asarray(net.predict(params, state, x))) < 5 * deviation).all()
    with pytest.raises(ValueError, match="at least one sample"):
        ensemble.sampled_predictions(net, params, state, x, key, 0)


def test_snapshots_are_the_ends_of_the_cycles(examples, key):
    net, cycle = layers.linear(3), 4
    optimizer = optimizers.sgd(schedules.cosine_with_restarts(0.1, cycle))
    start = train.init(net, optimizer, key, examples[0][:8])

    def reports(steps_per_call):
        return train.fit(
            net,
            LOSS,
            optimizer,
            start,
            examples,
            epochs=2,
            batch_size=16,
            steps_per_call=steps_per_call,
        )

    kept = [r.train_state.params for r in reports(2) if r.steps in (4, 8, 12)]
    params, state = ensemble.snapshots(reports(2), cycle)
    assert params.w.shape == (3, 5, 3)
    assert state == ()
    for i, expected in enumerate(kept):
        np.testing.assert_array_equal(params.w[i], expected.w)
    with pytest.raises(ValueError, match="at step 4, where a cycle ends, got one at 6 after 3"):
        ensemble.snapshots(reports(3), cycle)


@pytest.mark.slow
def test_five_are_no_worse_than_one_on_digits():
    digits = data.load("digits")
    (x, labels), (x_test, labels_test) = digits.train, digits.test
    net, optimizer, loss = (
        models.mlp((32,), 10),
        optimizers.adam(3e-3),
        losses.softmax_cross_entropy(),
    )
    members = population.init(net, optimizer, jax.random.split(jax.random.key(0), 5), x[:8])
    *_, last = population.fit(net, loss, optimizer, members, (x, labels), epochs=5, batch_size=32)
    logits = ensemble.predictions(net, last.members.params, last.members.state, x_test)
    found = ensemble.judge(logits, labels_test)
    assert found.members.mean() > 0.9
    assert found.together >= found.members.mean()
    assert 0 < found.disagreement < 0.2
    log_p = jnp.log(ensemble.mean_probabilities(logits))
    nll = loss.forward(log_p, labels_test)[0].mean()
    each = [loss.forward(one, labels_test)[0].mean() for one in logits]
    assert nll < np.mean(each)  # by Jensen's inequality
