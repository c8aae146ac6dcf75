"""A small convnet, its weights as torch would hold them, and what torch would compute with them."""

import numpy as np
import torch_formulas as formulas

from fnn import chain, frozen, layers


def first_last(image):
    """(N, C, H, W) and (N, H, W, C)."""
    return np.moveaxis(image, 1, -1)


def norm(width):
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,))


def drawn(shapes, rng, dtype=np.float64):
    """Variances are positive."""
    return {
        name: (
            rng.uniform(0.5, 1, shape) if name.endswith("var") else rng.normal(size=shape)
        ).astype(dtype)
        for name, shape in shapes.items()
    }


def convnet():
    return chain(
        conv=layers.convolution(4, 3, padding=1),
        norm=layers.batch_norm(),
        act=layers.relu(),
        flat=layers.flatten(),
        hidden=frozen(layers.linear(5)),
        logits=layers.linear(3),
    )


def state_dict(rng):
    """As of ``Sequential(Conv2d, BatchNorm2d, ReLU, Flatten, Linear, Linear)``."""
    parts = {
        "0": {"weight": (4, 2, 3, 3), "bias": (4,)},
        "1": norm(4),
        "4": {"weight": (5, 4 * 3 * 2), "bias": (5,)},
        "5": {"weight": (3, 5), "bias": (3,)},
    }
    tensors = {
        f"{module}.{name}": value
        for module, shapes in parts.items()
        for name, value in drawn(shapes, rng, np.float32).items()
    }
    return tensors | {"1.num_batches_tracked": np.asarray(7)}


def forward(tensors, x):
    """What that module gives, and what after its norm."""
    modules = {n[0]: {k[2:]: v for k, v in tensors.items() if k[0] == n[0]} for n in tensors}
    y = formulas.batch_norm(modules["1"], formulas.convolution(modules["0"], x, 1, 1, 1))
    hidden = formulas.linear(modules["4"], np.maximum(y, 0).reshape(len(x), -1))
    return formulas.linear(modules["5"], hidden), y
