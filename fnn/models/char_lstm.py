"""A language model of characters: stacked LSTMs, and sampling from it."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.compose import chain
from fnn.layer import Array, Layer, PyTree
from fnn.layers import LSTMCarry, dropout, embedding, linear, lstm, lstm_cell
from fnn.layers.recurrent_lstm import LSTMParams
from fnn.models.sizes import check_counts, of_inputs


def char_lstm(
    vocabulary: int,
    *,
    features: int = 128,
    layers: int = 2,
    dropout_rate: float = 0.0,
    truncate: int | None = None,
) -> Layer:
    """Logits for the next character at every position, from that character and those before it.

    Forward:

        ids → embed → (lstm_i → drop_i) for each layer → logits

    Backward: dy through the parts in reverse, each LSTM's from the last step to the first; see `chain`
    and `lstm`. Cache: that of the parts. Shapes: x (N, T) of integers in [0, vocabulary), y
    (N, T, vocabulary), float32. With 65 characters and the defaults: 279,873 parameters. Source: the
    char-rnn of Karpathy (2015), with learned characters in place of one-hot ones; dropout is between
    layers, not between steps (Zaremba et al., 2014).

    Args:
      vocabulary: the number of characters.
      features: the width of the embedding and of each LSTM.
      layers: the number of LSTMs.
      dropout_rate: after each LSTM; 0 for none, and no key is needed.
      truncate: as for `lstm`.

    Raises:
      TypeError: a count that is no int; of a pass: x is no array, or one of floats.
      ValueError: a count below 1, or a rate that is not in [0, 1); of a pass: x has not two axes, or an
        id of it is out of range.
    """
    check_counts("char_lstm", vocabulary=vocabulary, features=features, layers=layers)
    parts: dict[str, Layer] = {"embed": embedding(vocabulary, features)}
    for i in range(1, layers + 1):
        parts[f"lstm_{i}"] = lstm(features, truncate=truncate)
        if dropout_rate:
            parts[f"drop_{i}"] = dropout(dropout_rate)
    return of_inputs(
        "char_lstm",
        "x of ids of shape (N, T)",
        lambda shape: len(shape) == 2,
        chain(**parts, logits=linear(vocabulary)),
    )


def sample(
    net: Layer,
    params: PyTree,
    state: PyTree,
    key: Array,
    prompt: Array | np.ndarray,
    length: int,
    temperature: float | Array = 1.0,
) -> Array:
    """Characters that a `char_lstm` writes after a prompt, one at a time, in one scan.

    Each is drawn from softmax(logits / temperature): the largest of logits + temperature · g with g from
    the standard Gumbel distribution, so that at temperature 0 it is the likeliest character. The
    carries of the LSTMs go from step to step, so that a step costs the same however long the text is.

    Args:
      net: the network.
      params: its parameters.
      state: its state.
      key: of the draws.
      prompt: ids (P,), at least one: what to go on from.
      length: how many ids to write.
      temperature: 1 for the network's own distribution, below 1 for bolder, above 1 for stranger text.

    Returns:
      ids (length,), int32; `vmap` over keys for several texts.

    Raises:
      ValueError: the prompt has another shape or none, an id of it is out of range, or the length is
        negative.
    """
    prompt = jnp.asarray(prompt)
    if prompt.ndim != 1 or prompt.shape[0] < 1:
        raise ValueError(f"sample: expected a prompt of shape (P,), P >= 1, got {prompt.shape}")
    if length < 0:
        raise ValueError(f"sample: expected a length of at least 0, got {length}")
    first, *rest = net.parts

    def embed(ids: Array) -> Array:
        return net.parts[first].predict(params[first], state[first], ids)

    def advance(carries: dict[str, LSTMCarry], signal: Array) -> tuple[dict[str, LSTMCarry], Array]:
        """One character through all layers: the new carries, and the logits of the next one."""
        carries = dict(carries)
        for name in rest:
            if name in carries:
                cell = lstm_cell(carries[name].h.shape[-1])
                carries[name], signal = cell.predict(params[name], (), (carries[name], signal))
            else:
                signal = net.parts[name].predict(params[name], state[name], signal)
        return carries, signal

    def write(
        before: tuple[dict[str, LSTMCarry], Array], key: Array
    ) -> tuple[tuple[dict[str, LSTMCarry], Array], Array]:
        carries, logits = before
        noise = jnp.asarray(temperature, logits.dtype) * jax.random.gumbel(
            key, logits.shape, logits.dtype
        )
        ids = jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
        return advance(carries, embed(ids)), ids[0]

    seen = embed(prompt)[:, None]  # before the loop, where an id out of range can still raise
    zero = {
        name: jnp.zeros((1, params[name].w_h.shape[0]), seen.dtype)
        for name in rest
        if isinstance(params[name], LSTMParams)
    }
    carries = {name: LSTMCarry(h, h) for name, h in zero.items()}
    carries, logits = jax.lax.scan(advance, carries, seen)
    return jax.lax.scan(write, (carries, logits[-1]), jax.random.split(key, length))[1]
