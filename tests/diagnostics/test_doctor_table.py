"""The doctor over its patients: each illness is found and named, and no sound network raises an alarm."""

import jax
import pytest
import sick_networks

from fnn.diagnostics.doctor import doctor

SICK, HEALTHY = sick_networks.sick(), sick_networks.healthy()
# One small program each, or none: a whole examination compiles ten.
QUICK = {
    "data not centred": "data",
    "labels out of range": "classes",
    "loss summed": "loss reduction",
    "loss averaged": "loss reduction",
    "leak into validation": "leaks",
    "dx of a wrong shape": "gradient",
    "dx None": "gradient",
    "no pair": "gradient",
    "a backward that raises": "gradient",
    "softmax before the loss": "output",
    "relu before the loss": "output",
    "a layer in frozen": "frozen parameters",
}


def examined(case, seed=0, checks=None):
    return doctor(
        case.net,
        case.loss,
        case.examples,
        optimizer=case.optimizer,
        validation=case.validation,
        batch_size=case.batch_size,
        key=jax.random.key(seed),
        checks=checks,
    )


def assert_found(case, diagnosis):
    """By its name, where it is."""
    named = [verdict for verdict in diagnosis.sick if verdict.illness == case.illness]
    assert named, f"expected {case.illness}:\n{diagnosis}"
    assert named[0].advice
    if case.path is not None:
        assert named[0].path.startswith(case.path), str(diagnosis)


@pytest.mark.parametrize("name", QUICK)
def test_an_illness_is_found_by_its_own_check(name):
    case = SICK[name]
    assert_found(case, examined(case, checks=(QUICK[name],)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SICK)
def test_every_illness_is_found_and_named(name):
    assert_found(SICK[name], examined(SICK[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_a_sound_network_raises_no_alarm(name):
    diagnosis = examined(HEALTHY[name])
    assert diagnosis.ok, str(diagnosis)


def test_the_collection_is_as_large_as_promised():
    assert len(SICK) >= 12
    assert len(HEALTHY) >= 10
    assert all(case.illness for case in SICK.values())
    assert not any(case.illness for case in HEALTHY.values())
