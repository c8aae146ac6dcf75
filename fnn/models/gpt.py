"""A language model: a transformer that sees the past alone."""

from fnn.compose import chain, shared, transposed
from fnn.layer import Layer
from fnn.layers import dropout, embedding, layer_norm, learned_positions, linear
from fnn.models.sizes import check_counts, check_heads, of_inputs
from fnn.models.transformer import (
    SMALL_NORMAL,
    residual_init,
    transformer_block,
    transformer_blocks,
)


def gpt(
    vocabulary: int,
    *,
    context: int = 128,
    layers: int = 4,
    features: int = 128,
    heads: int = 4,
    kv_heads: int | None = None,
    expansion: int = 4,
    rotary_base: float | None = None,
    dropout_rate: float = 0.0,
    tied: bool = False,
    looped: bool = True,
) -> Layer:
    """Logits for the next token at every position, from that token and those before it.

    Forward:

        ids → embed → positions → blocks (`layers` of `transformer_block`) → norm → logits

    Backward: dy through the parts in reverse; see `chain`, and `shared` for a tied matrix, to whose
    gradient both its uses add. Cache: that of the parts. Shapes: x (N, T) of integers in [0,
    vocabulary), T <= context; y (N, T, vocabulary), float32. Matrices start at N(0, 0.02²), those
    that write into the residual with 1 / √(2 layers) of it. With 65 tokens and the defaults: 825,856
    parameters. Source: Radford et al. (2019), but for a bias of the key, which changes nothing, and
    for biases of the logits, of which there are none here.

    Args:
      vocabulary: the number of tokens.
      context: the longest sequence; with `rotary_base`, which needs no table, it is not used.
      layers: the number of blocks.
      features: the width of the signal between them.
      heads: of each attention.
      kv_heads: of keys and values, see `multi_head_attention`.
      expansion: each block's MLP is `expansion · features` wide.
      rotary_base: rotary positions in every attention, in place of the learned ones.
      dropout_rate: after the embedding and in the blocks; 0 for none, and no key is needed.
      tied: whether the logits' matrix is the embedding's, transposed (Press, Wolf, 2017).
      looped: whether the blocks are a loop, which compiles as fast for 48 as for 4 and whose parameters
        are stacked; or a chain of `block_1`, `block_2`, …, which took as long a step when measured.

    Raises:
      TypeError: a count that is no int; of a pass: x is no array, or one of floats.
      ValueError: a count that is not positive, heads that do not divide the features, kv_heads that do
        not divide the heads, an odd number of features a head with rotary positions, or a rate that is
        not in [0, 1); of a pass: x has not two axes, is longer than the context, or an id of it is out
        of range.
    """
    check_counts("gpt", vocabulary=vocabulary, context=context, layers=layers, expansion=expansion)
    check_heads("gpt", features, heads, kv_heads, rotary_base)
    block = transformer_block(
        features,
        heads,
        kv_heads=kv_heads,
        expansion=expansion,
        causal=True,
        rotary_base=rotary_base,
        dropout_rate=dropout_rate,
        out_init=residual_init(layers),
    )
    positions = {"positions": learned_positions(context)} if rotary_base is None else {}
    net = chain(
        embed=embedding(vocabulary, features, table_init=SMALL_NORMAL),
        **positions,
        **({"drop": dropout(dropout_rate)} if dropout_rate else {}),
        blocks=transformer_blocks(block, layers, looped=looped),
        norm=layer_norm(),
        logits=linear(vocabulary, bias=False, kernel_init=SMALL_NORMAL),
    )
    net = shared(net, {"logits/w": transposed("embed/table")}) if tied else net
    bounded = rotary_base is None
    return of_inputs(
        "gpt",
        "x of ids of shape (N, T)" + (f" with T <= {context}" if bounded else ""),
        lambda shape: len(shape) == 2 and (not bounded or shape[1] <= context),
        net,
    )
