"""Optimizers: schedule-free ones. NumPy float64, written from the paper, with all three points."""

import numpy as np
import optax

from fnn import optimizers

from .rows import OptimizerRow


def averaging(gradient, y, rate, interpolation, weight_power, direction, warmup_steps=0):
    """Algorithm 1 of Defazio et al. (2024)."""
    x, z, t, total, largest = y, y, 0, 0.0, 0.0
    while True:
        t += 1
        now = rate * min(1, t / warmup_steps) if warmup_steps else rate
        z = z - now * direction(t, gradient(y), y)
        largest = max(largest, now)
        total += largest**weight_power
        c = largest**weight_power / total
        x = (1 - c) * x + c * z
        y = (1 - interpolation) * z + interpolation * x
        yield y


def sgd(gradient, p, rate, interpolation, weight_decay, weight_power, warmup_steps=0):
    def direction(t, g, y):
        return g + weight_decay * y

    return averaging(gradient, p, rate, interpolation, weight_power, direction, warmup_steps)


def adamw(gradient, p, rate, interpolation, b2, eps, weight_decay, weight_power):
    v = np.zeros_like(p)

    def direction(t, g, y):
        nonlocal v
        v = b2 * v + (1 - b2) * g**2
        return g / (np.sqrt(v / (1 - b2**t)) + eps) + weight_decay * y

    return averaging(gradient, p, rate, interpolation, weight_power, direction)


def sgd_warmup(*given, **hyper):
    return sgd(*given, **hyper, warmup_steps=20)


SGD = {"interpolation": 0.9, "weight_decay": 0.0, "weight_power": 2.0}
ADAMW = {
    "interpolation": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "weight_power": 2.0,
}
OPTIMIZERS = {
    "schedule_free_sgd": OptimizerRow(
        optimizers.schedule_free_sgd,
        0.5,
        SGD,
        formula=sgd,
        peer=lambda rate, interpolation, weight_decay, weight_power: (
            optax.contrib.schedule_free_sgd(
                rate, b1=interpolation, weight_decay=weight_decay, weight_lr_power=weight_power
            )
        ),
        parabola_steps=1000,
    ),
    "schedule_free_sgd, warmup": OptimizerRow(
        optimizers.schedule_free_sgd,
        0.5,
        {**SGD, "weight_decay": 0.01},
        {"warmup_steps": 20},
        formula=sgd_warmup,
        parabola_steps=1000,
    ),
    "schedule_free_adamw": OptimizerRow(
        optimizers.schedule_free_adamw,
        0.1,
        ADAMW,
        formula=adamw,
        peer=lambda rate, interpolation, b2, eps, weight_decay, weight_power: (
            optax.contrib.schedule_free_adamw(
                rate,
                b1=interpolation,
                b2=b2,
                eps=eps,
                weight_decay=weight_decay,
                weight_lr_power=weight_power,
            )
        ),
        # Each x is computed from the y that was rounded before, and all these roundings add up.
        f32_tolerance=5e-6,
        parabola_steps=1000,
    ),
}
