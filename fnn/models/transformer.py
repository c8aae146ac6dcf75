"""The block that transformers repeat."""

import math

from fnn.compose import chain, repeat, residual
from fnn.initializers import Initializer, normal
from fnn.layer import Layer
from fnn.layers import dropout, gelu, layer_norm, linear, multi_head_attention
from fnn.layers.positions import Pairs
from fnn.models.sizes import check_counts, check_heads, of_inputs

SMALL_NORMAL = normal(0.02)


def transformer_block(
    features: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    expansion: int = 4,
    causal: bool = False,
    rotary_base: float | None = None,
    rotary_pairs: Pairs = "neighbours",
    dropout_rate: float = 0.0,
    kernel_init: Initializer = SMALL_NORMAL,
    out_init: Initializer | None = None,
) -> Layer:
    """Attention between times, then a small MLP at each of them, each around which its input is carried.

    Forward:

        x → x + attention(norm(x)) → x + project(gelu(expand(norm(x))))

    The norms come first, inside the residuals (pre-norm), so that the carried signal is never
    normalized away. Backward: dy through the parts in reverse, added to itself around each; see
    `chain` and `residual`. Cache: that of the parts. Shapes: x and y (N, T, features). Source:
    Vaswani et al. (2017); pre-norm: Xiong et al. (2020); gelu in its tanh form, as GPT-2.

    Args:
      features: D, of x and y.
      heads: of queries; `kv_heads` of keys and values, see `multi_head_attention`.
      kv_heads: as many as `heads` by default.
      expansion: the MLP is `expansion · features` wide.
      causal: whether time t sees the times s <= t alone.
      rotary_base: of rotary positions; None for none.
      rotary_pairs: see `rotary`.
      dropout_rate: of what each residual adds; with 0 there is no dropout layer, and no key is needed.
      kernel_init: of all matrices.
      out_init: of the two that write into the residual, if they start otherwise.

    Raises:
      TypeError: a count that is no int; of a pass: x is no array, or one of integers.
      ValueError: a count below 1, heads that do not divide the features, kv_heads that do not divide the
        heads, an odd number of features a head with rotary positions, or a rate that is not in [0, 1);
        of a pass: x has not three axes, or another width than `features`.
    """
    check_counts("transformer_block", expansion=expansion)
    check_heads("transformer_block", features, heads, kv_heads, rotary_base)
    out_init = kernel_init if out_init is None else out_init
    drop = {"drop": dropout(dropout_rate)} if dropout_rate else {}
    attend = multi_head_attention(
        heads,
        kv_heads=kv_heads,
        causal=causal,
        rotary_base=rotary_base,
        rotary_pairs=rotary_pairs,
        kernel_init=kernel_init,
        out_init=out_init,
    )
    net = chain(
        attention=residual(chain(norm=layer_norm(), attend=attend, **drop)),
        mlp=residual(
            chain(
                norm=layer_norm(),
                expand=linear(expansion * features, kernel_init=kernel_init),
                act=gelu(),
                project=linear(features, kernel_init=out_init),
                **drop,
            )
        ),
    )
    return of_inputs(
        "transformer_block",
        f"x of shape (N, T, {features})",
        lambda shape: len(shape) == 3 and shape[2] == features,
        net,
    )


def transformer_blocks(block: Layer, layers: int, *, looped: bool) -> Layer:
    """Several of them: a loop that is traced and compiled once, or a chain of copies."""
    if looped:
        return repeat(block, layers)
    return chain(**{f"block_{i}": block for i in range(1, layers + 1)})


def residual_init(layers: int) -> Initializer:
    """N(0, 0.02² / (2 layers)): 2 layers terms keep the variance of one (Radford et al., 2019)."""
    return normal(0.02 / math.sqrt(2 * layers))
