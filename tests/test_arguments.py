"""Which functions are taken for an option, and which are refused before a step calls them."""

import functools
import operator

import jax
import numpy as np
import pytest

from fnn.arguments import check_takes

WANTED = ("key", "batch")


def pair(key, batch):
    del key
    return batch


def factory(size):
    return lambda key, batch: batch[:size]


def without_key(function):
    """A decorator that takes more than what it wraps."""

    @functools.wraps(function)
    def taking(key, batch):
        del key
        return function(batch)

    return taking


class Called:
    def __call__(self, key, batch):
        return pair(key, batch)

    method = __call__


class CalledWithOne:
    def __call__(self, batch):
        return batch


@pytest.mark.parametrize(
    "function",
    [
        pair,
        lambda k, b: b,
        lambda k, b, *, strength=1: b,
        lambda *both: both[1],
        factory(1),
        functools.partial(lambda size, key, batch: batch, 1),
        functools.partial(lambda key, batch, size: batch, size=1),
        functools.lru_cache(pair),
        Called(),
        Called().method,
        jax.jit(pair),
        jax.jit(functools.partial(pair)),
        jax.vmap(pair),
        jax.checkpoint(pair),
        jax.custom_vjp(pair),
        np.equal,
        operator.eq,
        without_key(lambda batch: batch),
        jax.jit(without_key(lambda batch: batch)),
    ],
)
def test_whatever_can_be_called_is_taken(function):
    check_takes(function, WANTED, "here")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (factory, r"got factory, which takes \(size\); .* call it: factory\(…\)$"),
        (jax.jit(factory), r"got factory, .* call it: factory\(…\)$"),
        (functools.lru_cache(factory), r"got factory, .* call it: factory\(…\)$"),
        (Called, r"got Called, which takes \(\); .* call it: Called\(…\)$"),
        (lambda batch: batch, r"got <lambda>, which takes \(batch\)$"),
        (functools.partial(factory), r"got partial, which takes \(size\)$"),
        (CalledWithOne(), r"got CalledWithOne, which takes \(batch\)$"),
        (3, r"function of \(key, batch\), got 3$"),
    ],
)
def test_what_cannot_is_refused(given, words):
    with pytest.raises(TypeError, match=f"^here: expected a .*{words}"):
        check_takes(given, WANTED, "here")
