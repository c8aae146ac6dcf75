"""Which parameters an epoch's evaluation sees, and what of it is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, equal

from fnn import chain, layers, optimizers, train

NET = chain(hidden=layers.linear(8), norm=layers.batch_norm(), logits=layers.linear(3))
AVERAGED = optimizers.compose(
    descent=optimizers.sgd(0.1), average=optimizers.exponential_average(0.9)
)


def fit(examples, start, **options):
    given = {"epochs": 2, "batch_size": 16, "validation": examples, "metrics": METRICS} | options
    return train.fit(NET, LOSS, AVERAGED, start, examples, **given)


@pytest.fixture
def begun(examples, key):
    return train.init(NET, AVERAGED, key, examples[0][:8])


def test_the_average_is_evaluated(examples, begun):
    *_, report = fit(
        examples,
        begun,
        evaluate_with=train.averaged_params,
        reductions={"table": train.confusion(3)},
    )
    state = report.train_state
    expected = optimizers.averaged(state.optimizer, state.params)
    equal(report.params, expected)
    assert np.any(expected["hidden"].w != state.params["hidden"].w)
    y = NET.predict(expected, state.state, examples[0])
    np.testing.assert_allclose(report.evaluation.prediction, y, atol=1e-5)
    assert report.evaluation.reductions["table"].counts.sum() == 96
    *_, trained = fit(examples, begun, predictions=False)
    equal(trained.train_state, state)
    assert trained.evaluation.prediction is None
    assert trained.params is trained.train_state.params
    assert trained.evaluation.loss != report.evaluation.loss


@pytest.mark.parametrize(
    ("evaluate_with", "message"),
    [
        (lambda s: {"hidden": s.params["hidden"]}, r"they differ in logits/b, logits/w, norm/"),
        (lambda s: jax.tree.map(jnp.sum, s.params), "they differ in hidden/b, hidden/w"),
    ],
)
def test_parameters_of_another_network(examples, begun, evaluate_with, message):
    with pytest.raises(ValueError, match=message):
        fit(examples, begun, evaluate_with=evaluate_with)


def test_an_optimizer_without_an_average(examples, begun):
    plain = optimizers.sgd(0.1)
    begun = begun._replace(optimizer=plain.init(begun.params))
    with pytest.raises(ValueError, match="with an average in it, got none"):
        train.fit(
            NET, LOSS, plain, begun, examples,
            epochs=1, batch_size=16, evaluate_with=train.averaged_params,
        )  # fmt: skip
