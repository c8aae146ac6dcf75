"""What is no loss, augmentation or shardings is refused when a step is built, with what was expected."""

import jax
import numpy as np
import pytest
from training import LOSS, network

from fnn import augment, losses, optimizers, train
from fnn.train import population
from fnn.train.examples import example_count

OPTIMIZER = optimizers.sgd(0.1)


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        (losses.softmax_cross_entropy, {}, "expected a loss.*was it called"),
        (LOSS, {"augment": augment.rotate(10)}, "augment: expected a function"),
        (LOSS, {"augment": [augment.cutout(2)]}, "augment: expected a function"),
        (LOSS, {"augment": augment.cutout}, r"got augment\.cutout, .*call it: augment\.cutout\("),
        (LOSS, {"augment": augment.compose}, r"call it: augment\.compose\("),
        (
            LOSS,
            {"augment": lambda batch: batch},
            r"\(key, batch\), got <lambda>, which takes \(batch\)",
        ),
        (LOSS, {"metrics": {"top": train.top_k}}, r"metrics, 'top': .* call it: top_k\("),
        (LOSS, {"shardings": "data=8"}, r"shardings: expected train\.shardings"),
    ],
)
def test_says_what_was_expected(loss, options, words):
    with pytest.raises(TypeError, match=words):
        train.step(network(), loss, OPTIMIZER, **options)


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        (losses.softmax_cross_entropy, {}, "expected a loss.*was it called"),
        (LOSS, {"shardings": "data=8"}, r"shardings: expected train\.shardings"),
        (LOSS, {"metrics": {"top": train.top_k}}, r"metrics, 'top': .* call it: top_k\("),
    ],
)
def test_an_evaluation_says_so_too(loss, options, words):
    with pytest.raises(TypeError, match=words):
        train.evaluate(network(), loss, batch_size=8, **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"micro_batches": 0}, ValueError, "at least one micro-batch, got 0"),
        ({"micro_batches": 3}, ValueError, "3 micro-batches divide, got 8 examples"),
        ({"shardings": "data=8"}, ValueError, "expected no shardings"),
    ],
)
def test_a_population_says_so_too(options, error, words, examples, key):
    members = population.init(network(), OPTIMIZER, jax.random.split(key, 3), examples[0][:8])
    given = (network(), LOSS, OPTIMIZER, members)
    with pytest.raises(error, match=words):
        population.fit(*given, examples, epochs=1, batch_size=8, **options)
    x, y = examples
    named = x, np.array(["cat"] * len(x))
    for text in ({"examples": named}, {"examples": (x, y), "validation": named}):
        with pytest.raises(TypeError, match=TEXT):
            population.fit(*given, **text, epochs=1, batch_size=8)


@pytest.mark.parametrize("name", ["fit", "durable", "step", "epoch", "range_test"])
def test_a_population_is_refused_where_one_run_is_trained(name, examples, key, tmp_path):
    members = population.init(network(), OPTIMIZER, jax.random.split(key, 3), examples[0][:8])
    words = f"train.{name}: expected the train state of one run, got .* 3 members.*population.fit"
    with pytest.raises(ValueError, match=words):
        _train(name, members, examples, tmp_path)
    with pytest.raises(TypeError, match=f"train.{name}: expected a train state, .* got dict"):
        _train(name, members.params, examples, tmp_path)


def _train(name, train_state, examples, folder):
    given = (network(), LOSS, OPTIMIZER)
    match name:
        case "fit":
            train.fit(*given, train_state, examples, epochs=1, batch_size=8)
        case "durable":
            train.durable(folder, *given, train_state, examples, epochs=1, batch_size=8)
        case "step":
            train.step(*given)(train_state, jax.tree.map(lambda a: a[:8], examples))
        case "epoch":
            train.epoch(*given, batch_size=8)(train_state, examples)
        case _:
            train.range_test(*given, train_state, examples, batch_size=8)


TEXT = "expected examples of numbers, got 'cat' .*np.unique"


@pytest.mark.parametrize("as_array", [list, np.array, lambda names: np.array(names, object)])
def test_names_of_classes_are_refused_with_the_way_to_numbers(as_array, key, examples):
    x, y = examples
    start = train.init(network(), OPTIMIZER, key, x[:8])
    named = x, as_array(["cat"] * len(x))
    given = (network(), LOSS, OPTIMIZER, start)
    with pytest.raises(TypeError, match=TEXT):
        train.fit(*given, named, epochs=1, batch_size=8)
    with pytest.raises(TypeError, match=TEXT):
        train.fit(*given, (x, y), epochs=1, batch_size=8, validation=named)
    with pytest.raises(TypeError, match=TEXT):
        train.evaluate(network(), LOSS, batch_size=8)(start.params, start.state, named)


def test_an_array_of_objects_is_refused_with_the_way_to_numbers():
    with pytest.raises(TypeError, match=r"got '1' of type int in an .* object; .*array\.astype"):
        example_count((np.zeros((2, 3)), np.array([1, 2], object)))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: train.tensor_parallel_mlp("hidden", "logits"),
            r"how many .*\(2, 'model'\), got 'hidden'",
        ),
        (
            lambda: train.tensor_parallel_mlp(2, 3),
            "tensor_parallel_mlp: expected the name of an axis",
        ),
        (lambda: train.tensor_parallel_transformer(8), "transformer: expected the name of an axis"),
    ],
)
def test_rules_of_what_is_no_count_or_axis_are_refused(build, words):
    with pytest.raises(TypeError, match=words):
        build()


class _OnEight:
    """Shardings of a batch over eight devices, as far as a check before the first step looks at them."""

    batch_parts = 8

    def differentiated(self, derive):
        return derive


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"micro_batches": 5},
            "5 micro-batches divide, got 32 examples; .* multiple of micro_batches, 5",
        ),
        (
            {"shardings": _OnEight(), "micro_batches": 8},
            r"got 32 .* micro_batches · devices, 8 · 8 = 64",
        ),
        (
            {"shardings": _OnEight(), "batch_size": 12},
            "8 devices divide, got 12 .* 8 devices that share",
        ),
    ],
)
def test_batches_that_cannot_be_divided_are_refused_before_the_first_step(options, words, key):
    x, y = np.zeros((64, 5), np.float32), np.zeros(64, np.int32)
    start = train.init(network(), OPTIMIZER, key, x[:8])
    with pytest.raises(ValueError, match=words):
        train.fit(
            network(), LOSS, OPTIMIZER, start, (x, y), **({"epochs": 1, "batch_size": 32} | options)
        )


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
