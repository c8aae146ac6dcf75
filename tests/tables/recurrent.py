"""Embeddings and recurrent networks."""

import functools

import numpy as np

from fnn import layers
from fnn.compose import bidirectional
from fnn.layers import HiddenCarry, LSTMCarry

from .rows import LayerRow


def _ids(rng: np.random.Generator) -> np.ndarray:
    """Some ids twice, so that their contributions have to add, and some not at all."""
    return rng.integers(0, 4, (3, 4), np.int32)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _of_lengths(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A sequence that ends early and one that is whole."""
    return _normal(rng, 2, 3, 2), np.array([1, 3], np.int32)


def _with_everything(rng: np.random.Generator) -> tuple[LSTMCarry, np.ndarray, np.ndarray]:
    return LSTMCarry(_normal(rng, 2, 3), _normal(rng, 2, 3)), *_of_lengths(rng)


def _hidden_and_x(rng: np.random.Generator) -> tuple[HiddenCarry, np.ndarray]:
    return HiddenCarry(_normal(rng, 3, 4)), _normal(rng, 3, 2)


def _lstm_carry_and_x(rng: np.random.Generator) -> tuple[LSTMCarry, np.ndarray]:
    return LSTMCarry(_normal(rng, 3, 4), _normal(rng, 3, 4)), _normal(rng, 3, 2)


LAYERS: dict[str, LayerRow] = {
    "embedding": LayerRow(lambda: layers.embedding(5, 2), _ids, takes_integers=True),
    "embedding with padding": LayerRow(
        lambda: layers.embedding(5, 2, padding=1), _ids, takes_integers=True
    ),
    "rnn": LayerRow(lambda: layers.rnn(3), (2, 4, 2)),
    "rnn of lengths": LayerRow(lambda: layers.rnn(3, lengths=True), _of_lengths),
    "lstm": LayerRow(lambda: layers.lstm(3), (2, 4, 2)),
    "lstm backwards, from carry to carry, of lengths": LayerRow(
        lambda: layers.lstm(3, reverse=True, lengths=True, carry_in=True, carry_out=True),
        _with_everything,
    ),
    "gru": LayerRow(lambda: layers.gru(3), (2, 4, 2)),
    "gru, reset before": LayerRow(lambda: layers.gru(3, reset="before", reverse=True), (2, 4, 2)),
    "bidirectional": LayerRow(
        lambda: bidirectional(functools.partial(layers.rnn, 2, lengths=True)), _of_lengths
    ),
    "rnn_cell": LayerRow(lambda: layers.rnn_cell(4), _hidden_and_x),
    "lstm_cell": LayerRow(lambda: layers.lstm_cell(4), _lstm_carry_and_x),
    "gru_cell": LayerRow(lambda: layers.gru_cell(4), _hidden_and_x),
}
