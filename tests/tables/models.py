"""Whole networks, for the properties that hold of any layer.

They are no part of `LAYERS`: a network is made of layers that stand there, so that a fault planted in it
would be one that is planted there already.
"""

import numpy as np

from fnn import models

from .rows import LayerRow

# Of equal pixels a batch norm leaves a rounding error, which it divides by √ε, and the next one again.
_EQUAL = "equal pixels, of which a batch norm leaves a rounding error, times 1 / √ε"
MODELS = {
    "autoencoder": LayerRow(
        lambda: models.autoencoder(6, 2, features=(4,)), (3, 2, 3), refuses_no_time=True
    ),
    "char_lstm": LayerRow(
        lambda: models.char_lstm(5, features=3, dropout_rate=0.3),
        lambda rng: rng.integers(0, 5, (2, 3), np.int32),
    ),
    "convnet": LayerRow(
        lambda: models.convnet(3, channels=(2,), features=4, dropout_rate=0.3),
        (4, 3, 2, 1),
        refuses_empty_batch=True,
        hard={"subnormal": _EQUAL, "ties": _EQUAL},
        refuses_no_time=True,
    ),
    "gpt": LayerRow(
        lambda: models.gpt(3, context=3, layers=2, features=4, heads=2, tied=True),
        lambda rng: rng.integers(0, 3, (2, 3), np.int32),
    ),
    "lenet": LayerRow(
        lambda: models.lenet(3, padding="VALID", logit_std=0.3),
        (2, 16, 16, 1),
        refuses_no_time=True,
    ),
    "lenet, modern": LayerRow(
        lambda: models.lenet(3, padding="VALID", modern=True, logit_std=0.3),
        (2, 16, 16, 1),
        refuses_no_time=True,
    ),
    "linear_classifier": LayerRow(
        lambda: models.linear_classifier(3), (4, 2, 2), refuses_no_time=True
    ),
    "mlp": LayerRow(lambda: models.mlp((4, 3), 3), (4, 3)),
    "resnet": LayerRow(
        lambda: models.resnet(3, depth=8, width=2, logit_std=0.3),
        (3, 4, 4, 1),
        refuses_empty_batch=True,
        hard={"subnormal": _EQUAL, "ties": _EQUAL},
        refuses_no_time=True,
    ),
    "transformer_block": LayerRow(
        lambda: models.transformer_block(4, 2, kv_heads=1, causal=True, rotary_base=10.0),
        (2, 3, 4),
        hard={
            "subnormal": "equal tokens, whose scores have a gradient of 0, or of a rounding error"
        },
    ),
    "vit": LayerRow(
        lambda: models.vit(3, image=(4, 2), patch=2, layers=2, features=4, heads=2),
        (2, 4, 2, 1),
        refuses_no_time=True,
    ),
    "vit, mean": LayerRow(
        lambda: models.vit(
            3, image=(4, 2), patch=2, layers=1, features=4, heads=2, pooling="mean", looped=False
        ),
        (2, 4, 2, 1),
        refuses_no_time=True,
    ),
}
