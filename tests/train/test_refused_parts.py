"""What is no loss, augmentation or shardings is refused when a step is built, with what was expected."""

import pytest
from training import LOSS, network

from fnn import augment, losses, optimizers, train

OPTIMIZER = optimizers.sgd(0.1)


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        (losses.softmax_cross_entropy, {}, "expected a loss.*was it called"),
        (LOSS, {"augment": augment.rotate(10)}, "augment: expected a function"),
        (LOSS, {"augment": [augment.cutout(2)]}, "augment: expected a function"),
        (LOSS, {"shardings": "data=8"}, r"shardings: expected train\.shardings"),
    ],
)
def test_says_what_was_expected(loss, options, words):
    with pytest.raises(TypeError, match=words):
        train.step(network(), loss, OPTIMIZER, **options)


def test_another_rate_would_do_nothing_and_is_refused(start, examples, tmp_path):
    """The restored state has the rate of the run, whatever the program says now."""

    def run(rate):
        optimizer = optimizers.sgd(rate)
        begin = start._replace(optimizer=optimizer.init(start.params))
        settings = {"epochs": 1, "batch_size": 8, "save_steps": 1, "steps_per_call": 1}
        run = train.durable(tmp_path, network(), LOSS, optimizer, begin, examples, **settings)
        for _ in run:
            break

    run(0.1)
    with pytest.raises(ValueError, match=r"optimizer/.*rate: saved 0\.1.*, now 0\.2"):
        run(0.2)
