"""Networks with an illness each, and sound ones: what the doctor is measured by.

Real data: 400 of scikit-learn's digits, and the characters of a module of this package.
"""

import inspect
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import fnn.layer
from fnn import chain, layers, losses, residual
from fnn import initializers as init
from fnn.data import load
from fnn.layer import Layer
from fnn.losses import Loss
from fnn.models import autoencoder, char_lstm, convnet, gpt, linear_classifier, mlp
from fnn.optimizers import Optimizer, adam, adamw, freeze, groups, momentum, sgd
from tests.diagnostics import broken_layers as broken

CROSS_ENTROPY = losses.softmax_cross_entropy()


class Case(NamedTuple):
    """What is given to the doctor."""

    net: Layer
    examples: tuple[Any, Any]
    optimizer: Optimizer
    loss: Loss = CROSS_ENTROPY
    illness: str = ""  # its name, of a sick one
    path: str | None = None  # where it must be found
    validation: tuple[Any, Any] | None = None
    batch_size: int = 32


@cache
def digits():
    """400 digits, (400, 8, 8, 1) in [0, 1]."""
    train = load("digits").train
    return train.x[:400], train.y[:400]


@cache
def held_out():
    train = load("digits").train
    return train.x[400:500], train.y[400:500]


@cache
def text():
    """Windows of 16 characters, and the characters that follow each."""
    characters = inspect.getsource(fnn.layer)
    known = sorted(set(characters))
    ids = np.array([known.index(c) for c in characters], np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(ids, 17)[::7][:400]
    return windows[:, :-1].copy(), windows[:, 1:].copy(), len(known)


def dense(
    *, act=layers.relu, widths=(32, 32), kernel=init.he_normal, bias=init.zeros, between=None
):
    """A multilayer perceptron with named layers, of which everything may be wrong."""
    parts = {"flat": layers.flatten()}
    for i, width in enumerate(widths, start=1):
        parts[f"hidden_{i}"] = layers.linear(width, kernel_init=kernel, bias_init=bias)
        if between is not None:
            parts[f"between_{i}"] = between()
        if act is not None:
            parts[f"act_{i}"] = act()
    return chain(**parts, logits=layers.linear(10, kernel_init=kernel))


def shuffled(y):
    return np.random.default_rng(0).permutation(y)


def _with_nan(x):
    x = x.copy()
    x[7, 2, 3, 0] = np.nan
    return x


def _broken_backwards(xy):
    """Of a layer in the middle, which must be named, and not its neighbours."""
    of = {
        "dx of a wrong shape": broken.summed_away,
        "dx None": broken.nothing,
        "no pair": broken.alone,
        "a backward that raises": broken.misnamed,
        "a backward by 0": broken.by_zero,
    }
    return {
        name: Case(
            broken.around(broken.squash(backward)),
            xy,
            adam(1e-3),
            illness="wrong backward",
            path="middle",
        )
        for name, backward in of.items()
    }


def _on_the_logits(xy):
    """A last layer that a loss of logits does not want."""
    ends = {
        "softmax": layers.softmax,
        "log-softmax": layers.log_softmax,
        "sigmoid": layers.sigmoid,
        "relu": layers.relu,
        "dropout": lambda: layers.dropout(0.5),
    }
    return {
        f"{name} before the loss": Case(
            broken.around(layers.identity(), end()),
            xy,
            adam(1e-3),
            illness="activation on the logits",
            path="last",
        )
        for name, end in ends.items()
    }


def sick() -> dict[str, Case]:
    """Each with the name of what the doctor must find."""
    x, y = digits()
    xy = (x, y)
    rare = np.flatnonzero((y != 3) | (np.cumsum(y == 3) <= 3))
    shut = groups({"hidden_1/*": freeze(), "*": adam(1e-3)})
    return {
        "zero init": Case(dense(kernel=init.zeros), xy, adam(1e-3), illness="units alike"),
        "one constant init": Case(
            dense(kernel=init.constant(0.05)), xy, adam(1e-3), illness="units alike"
        ),
        "too small init": Case(
            dense(act=layers.tanh, widths=(32, 32, 32), kernel=init.normal(1e-3)),
            xy,
            sgd(0.1),
            illness="fading signal",
        ),
        "too large init": Case(
            dense(widths=(32, 32, 32), kernel=init.normal(2.0)),
            xy,
            adam(1e-3),
            illness="exploding signal",
        ),
        "rate × 100, adam": Case(dense(), xy, adam(0.1), illness="rate too high"),
        "rate × 100, sgd": Case(dense(), xy, sgd(10.0), illness="rate too high"),
        "rate / 1000": Case(dense(), xy, sgd(1e-4), illness="rate too low"),
        "missing nonlinearity": Case(
            dense(act=None), xy, adam(1e-3), illness="missing nonlinearity", path="hidden_2"
        ),
        "missing nonlinearity, convolutions": Case(
            chain(
                conv_1=layers.convolution(4, 3),
                norm=layers.batch_norm(),
                conv_2=layers.convolution(8, 3),
                act=layers.relu(),
                flat=layers.flatten(),
                logits=layers.linear(10),
            ),
            xy,
            adam(1e-3),
            illness="missing nonlinearity",
            path="conv_2",
        ),
        "loss summed": Case(dense(), xy, sgd(0.1), broken.summed(), "wrong loss reduction"),
        "loss averaged": Case(dense(), xy, sgd(0.1), broken.averaged(), "wrong loss reduction"),
        "frozen by mistake": Case(
            dense(), xy, shut, illness="frozen parameters", path="hidden_1/w"
        ),
        "shuffled labels": Case(dense(), (x, shuffled(y)), adam(1e-3), illness="shuffled labels"),
        "saturated sigmoid": Case(
            dense(act=layers.sigmoid, kernel=init.normal(5.0)),
            xy,
            adam(1e-3),
            illness="saturated units",
            path="act_1",
        ),
        "dead relu by bias": Case(
            dense(bias=init.constant(-10.0)), xy, adam(1e-3), illness="dead units", path="act_1"
        ),
        "data not centred": Case(dense(), (x + 10, y), adam(1e-3), illness="data not centred"),
        "data not scaled": Case(dense(), (x * 255, y), adam(1e-3), illness="data not scaled"),
        "data with a NaN": Case(dense(), (_with_nan(x), y), adam(1e-3), illness="data not finite"),
        "batch norm, batch of 1": Case(
            dense(between=layers.batch_norm),
            xy,
            sgd(0.01),
            illness="batch norm over too few",
            batch_size=1,
        ),
        "wrong backward of relu": Case(
            dense(act=broken.leaning_relu), xy, adam(1e-3), illness="wrong backward", path="act_1"
        ),
        "wrong backward of a bias": Case(
            chain(
                flat=layers.flatten(),
                hidden=broken.unscaled_linear(32),
                act=layers.relu(),
                logits=layers.linear(10),
            ),
            xy,
            adam(1e-3),
            illness="wrong backward",
            path="hidden",
        ),
        **_broken_backwards(xy),
        **_on_the_logits(xy),
        "dead relu by bias, far": Case(
            dense(bias=init.constant(-20.0)), xy, adam(1e-3), illness="dead units", path="act_1"
        ),
        "rate × 300, adam": Case(dense(), xy, adam(0.3), illness="updates too large"),
        "a layer in frozen": Case(
            broken.half_frozen(), xy, adam(1e-3), illness="frozen at random", path="h"
        ),
        "dropout of 95 %": Case(
            dense(between=lambda: layers.dropout(0.95)),
            xy,
            adam(1e-3),
            illness="dropout too high",
        ),
        "leak into validation": Case(
            dense(), xy, adam(1e-3), illness="leak: exact duplicates", validation=(x[:80], y[:80])
        ),
        "class imbalance": Case(dense(), (x[rare], y[rare]), adam(1e-3), illness="class imbalance"),
        "labels out of range": Case(dense(), (x, y + 1), adam(1e-3), illness="labels out of range"),
    }


def healthy() -> dict[str, Case]:
    """On which no alarm may be raised."""
    x, y = digits()
    xy = (x, y)
    tokens, following, vocabulary = text()
    block = chain(
        norm=layers.layer_norm(), expand=layers.linear(32), act=layers.relu(), out=layers.linear(32)
    )
    flat = x.reshape(len(x), -1)
    deep = dense(widths=(32,) * 8)
    return {
        "mlp, adam": Case(mlp((64, 32), 10), xy, adam(1e-3), validation=held_out()),
        "mlp, sgd": Case(mlp((64, 32), 10), xy, sgd(0.1)),
        "mlp, momentum": Case(mlp((64, 32), 10), xy, momentum(0.02)),
        "convnet": Case(convnet(10, channels=(4, 8), features=16), xy, adam(1e-3)),
        "batch norm": Case(dense(between=layers.batch_norm, bias=init.zeros), xy, momentum(0.02)),
        "dropout": Case(mlp((64, 64), 10, dropout_rate=0.5), xy, adam(1e-3)),
        "residual": Case(
            chain(
                flat=layers.flatten(),
                stem=layers.linear(32),
                block_1=residual(block),
                block_2=residual(block),
                norm=layers.layer_norm(),
                logits=layers.linear(10),
            ),
            xy,
            adam(1e-3),
        ),
        "tanh, Xavier": Case(dense(act=layers.tanh, kernel=init.xavier_normal), xy, sgd(0.1)),
        "deep relu, He": Case(deep, xy, adam(1e-3)),
        "softmax, cross-entropy of probabilities": Case(
            broken.around(layers.identity(), layers.softmax()),
            xy,
            adam(1e-3),
            losses.cross_entropy(),
        ),
        "smoothed labels": Case(
            dense(), xy, adam(1e-3), losses.softmax_cross_entropy(smoothing=0.1)
        ),
        "linear classifier": Case(linear_classifier(10), xy, sgd(0.1)),
        "gpt": Case(
            gpt(vocabulary, context=16, layers=2, features=32, heads=2),
            (tokens, following),
            adamw(1e-3),
        ),
        "char LSTM": Case(
            char_lstm(vocabulary, features=32, layers=1), (tokens, following), adam(3e-3)
        ),
        "autoencoder": Case(
            autoencoder(64, 8, features=(32,)), (flat, flat), adam(1e-3), losses.squared_error()
        ),
    }
