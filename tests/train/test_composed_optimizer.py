"""Everything that optimizers are wrapped with, in one real run: donated, resumed, frozen and averaged."""

import jax
import numpy as np
import pytest
from training import LOSS, equal, network

from fnn import optimizers, train
from fnn.optimizers import accumulate, averaged, compose, groups, lookahead

EPOCHS = 6


def everything():
    inner = compose(
        clip=optimizers.clip_by_global_norm(5.0),
        centre=optimizers.centralize(),
        noise=optimizers.add_noise(jax.random.key(1), 1e-4),
        rules=groups({"norm/*": optimizers.freeze(), "*": optimizers.adam(0.02)}),
        decay=optimizers.proximal_step(optimizers.l1(1e-3, "*/w"), 0.02),
        ball=optimizers.project_max_norm(3.0),
        average=optimizers.exponential_average(0.8),
    )
    return lookahead(accumulate(inner, 2), 3)


SCALED = train.loss_scaling(optimizers.sgd(0.1))
AROUND = {
    "compose, move": lambda inner: compose(clip=optimizers.clip_by_value(1.0), move=inner),
    r"groups, '\*'": lambda inner: groups({"*": inner}),
    "accumulate": lambda inner: accumulate(inner, 2),
    "lookahead": lookahead,
    "skip_nonfinite": optimizers.skip_nonfinite,
    "masked": lambda inner: optimizers.masked(inner, "*"),
    "sam": optimizers.sam,
    "as_minimizer": optimizers.as_minimizer,
}


@pytest.mark.parametrize("where", AROUND)
def test_what_goes_around_all_others_is_refused_within(where):
    for inner, taken in (
        (SCALED, "grads, scale, state, params"),
        (optimizers.lbfgs(), "objective"),
    ):
        words = (
            rf"{where}: expected .* \(grads, state, params\), got .* takes \({taken}.*goes around"
        )
        with pytest.raises(TypeError, match=words):
            AROUND[where](inner)
    with pytest.raises(TypeError, match=rf"{where}: expected an optimizer, got .*call it: adam"):
        AROUND[where](optimizers.adam)


def test_a_run_learns_and_goes_on_where_it_was_left(examples, key):
    net, optimizer = network(), everything()
    start = train.init(net, optimizer, key, examples[0][:8])

    def fit(state, epochs):
        given = {"epochs": epochs, "batch_size": 16, "validation": examples}
        return list(train.fit(net, LOSS, optimizer, state, examples, **given))

    reports = fit(start, EPOCHS)
    end = reports[-1].train_state
    assert reports[-1].evaluation.loss < reports[0].evaluation.loss / 2
    equal(end.params["norm"], start.params["norm"])
    assert not np.array_equal(end.params["hidden"].w, start.params["hidden"].w)
    average = averaged(end.optimizer, end.params)
    judged = train.evaluate(net, LOSS, batch_size=32)(average, end.state, examples)
    assert judged.loss < reports[0].evaluation.loss
    half = reports[EPOCHS // 2 - 1].train_state
    equal(fit(half, EPOCHS)[-1].train_state, end)
