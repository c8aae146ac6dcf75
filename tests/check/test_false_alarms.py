"""No method accuses a correct layer or loss: a few rows of the tables, and all of them if asked."""

import zlib
from functools import cache

import numpy as np
import pytest
from tables import LAYERS, LOSSES

from fnn.check.methods.complex_step import complex_step
from fnn.check.methods.jacobian import jacobian
from fnn.check.methods.low_precision import low_precision
from fnn.check.methods.second_order import second_order
from fnn.check.methods.transforms import transforms
from fnn.check.subjects import given_subject, loss_subject
from fnn.check.trial import attempt

QUICK = ("linear of a sequence", "batch_norm", "dropout", "softmax_cross_entropy, labels")


@cache
def built(name):
    """One value for all seeds, so that what is compiled is used again."""
    return (LAYERS | LOSSES)[name].build()


def subject_of(name, seed):
    row = (LAYERS | LOSSES)[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    x = row.draw(rng)
    if name in LOSSES:
        return loss_subject(built(name), x, row.target(rng))
    return given_subject(built(name), x, params=None, state=None, key=None, seed=seed)


def accused(name, seeds):
    found = []
    for seed in seeds:
        given = subject_of(name, seed)
        trial = attempt(given, seed=seed)
        for method in (jacobian, second_order, complex_step, transforms):
            found += [str(row) for row in method(trial) if not row.ok]
        found += [str(row) for row in low_precision(given, trial) if not row.ok]
    return found


@pytest.mark.parametrize("name", QUICK)
def test_two_seeds(name):
    assert accused(name, range(2)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LAYERS, *LOSSES][::8])
def test_another_seed(name):
    assert accused(name, [2]) == []
