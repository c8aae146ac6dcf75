"""A transformer that reads an image as a sequence of patches."""

from typing import Literal, get_args

from fnn.compose import chain
from fnn.initializers import xavier_uniform
from fnn.layer import Layer
from fnn.layers import (
    class_token,
    dropout,
    layer_norm,
    learned_positions,
    linear,
    mean_token,
    patches,
    token_at,
)
from fnn.models.sizes import check_counts, check_heads, check_widths, of_inputs
from fnn.models.transformer import residual_init, transformer_block, transformer_blocks

Pooling = Literal["class", "mean"]


def vit(
    classes: int,
    *,
    image: tuple[int, int] = (28, 28),
    patch: int = 7,
    layers: int = 4,
    features: int = 64,
    heads: int = 4,
    expansion: int = 4,
    pooling: Pooling = "class",
    dropout_rate: float = 0.0,
    looped: bool = True,
) -> Layer:
    """Logits of an image's class.

    Forward:

        x → patches → embed → token → positions → blocks → norm → pool → logits

    Backward: dy through the parts in reverse; see `chain`. Cache: that of the parts. Shapes: x
    (N, H, W, C) with (H, W) = `image`; y (N, classes). Source: Dosovitskiy et al. (2021).

    Args:
      classes: the number of logits.
      image: height and width, multiples of `patch`.
      patch: the side of each square.
      layers: the number of blocks.
      features: the width of the signal between them.
      heads: of each attention.
      expansion: each block's MLP is `expansion · features` wide.
      pooling: "class" reads a learned token that is put before the patches, "mean" their mean.
      dropout_rate: after the positions and in the blocks; 0 for none, and no key is needed.
      looped: whether the blocks are a loop or a chain, see `gpt`.

    Raises:
      TypeError: a count that is no int; of a pass: x is no array, or one of integers.
      ValueError: counts that are not positive or do not divide each other, an unknown pooling, or a rate
        that is not in [0, 1); of a pass: x has not four axes, is no `image` by its height and width, or
        has other channels than the parameters were made for.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f"vit: expected pooling in {get_args(Pooling)}, got {pooling!r}")
    check_counts("vit", classes=classes, patch=patch, layers=layers, expansion=expansion)
    check_heads("vit", features, heads, None, None)
    sides = check_widths("vit", "image", image)
    if len(sides) != 2:
        raise ValueError(f"vit: expected image (height, width), got {sides}")
    height, width = sides
    if height % patch or width % patch:
        raise ValueError(f"vit: expected an image of whole patches of {patch}, got {sides}")
    block = transformer_block(
        features,
        heads,
        expansion=expansion,
        dropout_rate=dropout_rate,
        out_init=residual_init(layers),
    )
    count, whole = height * width // patch**2, pooling == "class"
    net = chain(
        patches=patches(patch),
        embed=linear(features, kernel_init=xavier_uniform),
        **({"token": class_token()} if whole else {}),
        positions=learned_positions(count + whole),
        **({"drop": dropout(dropout_rate)} if dropout_rate else {}),
        blocks=transformer_blocks(block, layers, looped=looped),
        norm=layer_norm(),
        pool=token_at(0) if whole else mean_token(),
        logits=linear(classes),
    )
    return of_inputs(
        "vit",
        f"x of shape (N, {height}, {width}, C)",
        lambda shape: len(shape) == 4 and shape[1:3] == sides,
        net,
    )
