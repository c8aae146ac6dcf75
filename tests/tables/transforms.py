"""Transforms of updates, and wrappers of optimizers, as the properties see them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from fnn import optimizers
from fnn.optimizers import Optimizer


@dataclasses.dataclass(frozen=True)
class TransformRow:
    """One transform, or one wrapper around an optimizer."""

    build: Callable[..., Optimizer]
    # Hyperparameters that the transform is built with, by name: a schedule may drive each.
    hyperparameters: Mapping[str, float] = dataclasses.field(default_factory=dict)
    arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    # The same transform of optax: peer(**hyperparameters).
    peer: Callable[..., Any] | None = None
    # Whether NaN in a gradient is kept out of the update on purpose, and why.
    stops_nan: str = ""
    # The same of an infinity.
    stops_infinity: str = ""

    def transform(self, **hyperparameters: object) -> Optimizer:
        """Built with the row's hyperparameters, or others."""
        return self.build(**{**self.hyperparameters, **hyperparameters}, **self.arguments)


TRANSFORMS = {
    "decay_weights": TransformRow(
        optimizers.decay_weights,
        {"weight_decay": 0.1},
        peer=lambda weight_decay: optax.add_decayed_weights(weight_decay),
    ),
    "decay_weights of some": TransformRow(
        optimizers.decay_weights,
        {"weight_decay": 0.1},
        {"where": ("!*/b", "*")},
        peer=lambda weight_decay: optax.add_decayed_weights(
            weight_decay, mask={name: {"w": True, "b": False} for name in ("hidden", "head")}
        ),
    ),
    "freeze": TransformRow(
        optimizers.freeze,
        peer=lambda: optax.set_to_zero(),
        stops_nan="what is frozen does not move, whatever its gradient",
    ),
    "scale": TransformRow(optimizers.scale, {"scale": 0.5}, peer=lambda scale: optax.scale(scale)),
    "clip_by_value": TransformRow(
        optimizers.clip_by_value,
        {"limit": 0.5},
        peer=lambda limit: optax.clip(limit),
        stops_infinity="it is beyond the limit, and becomes the limit",
    ),
    "clip_by_norm": TransformRow(optimizers.clip_by_norm, {"limit": 1.0}),
    "clip_by_global_norm": TransformRow(
        optimizers.clip_by_global_norm,
        {"limit": 2.0},
        peer=lambda limit: optax.clip_by_global_norm(limit),
    ),
    "clip_adaptively": TransformRow(
        optimizers.clip_adaptively,
        {"limit": 0.3, "eps": 1e-3},
        peer=lambda limit, eps: optax.adaptive_grad_clip(limit, eps),
    ),
    "centralize": TransformRow(optimizers.centralize),
    "add_noise": TransformRow(
        lambda **hyper: optimizers.add_noise(jax.random.key(0), **hyper),
        {"variance": 0.3, "power": 0.55},
    ),
    "exponential_average": TransformRow(optimizers.exponential_average, {"decay": 0.9}),
    "exponential_average without its start": TransformRow(
        optimizers.exponential_average, {"decay": 0.9}, {"debias": True}
    ),
    "uniform_average": TransformRow(optimizers.uniform_average, arguments={"start": 2}),
    "add_penalty": TransformRow(
        lambda l1, l2: optimizers.add_penalty(optimizers.elastic_net(l1, l2, "*")),
        {"l1": 0.1, "l2": 0.2},
    ),
    "proximal_step": TransformRow(
        lambda rate, l1, l2: optimizers.proximal_step(optimizers.elastic_net(l1, l2, "*"), rate),
        {"rate": 0.1, "l1": 0.1, "l2": 0.2},
    ),
    "project_max_norm": TransformRow(optimizers.project_max_norm, {"limit": 1.0}),
}


# What each wrapper is put around.
INNER = {
    "sgd": lambda: optimizers.sgd(0.1),
    "momentum": lambda: optimizers.momentum(0.1),
    "adam": lambda: optimizers.adam(0.1),
}
WRAPPERS = {
    "masked": TransformRow(lambda inner: optimizers.masked(inner, "*/w")),
    "groups": TransformRow(
        lambda inner: optimizers.groups({"*/b": optimizers.sgd(0.2), "*": inner}),
    ),
    "accumulate": TransformRow(lambda inner: optimizers.accumulate(inner, 2)),
    "skip_nonfinite": TransformRow(
        optimizers.skip_nonfinite, stops_nan="that is what it is for; it counts what it skips"
    ),
    "lookahead": TransformRow(lambda inner: optimizers.lookahead(inner, 2)),
}
