"""Reports made by hand, as `fit` would make them, for the tests of loggers."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.train import Confusion, Evaluation, Info, Report, TrainState


def report(step=6, *, steps=3, loss=None, scale=None, finite=None, evaluation=None, distance=None):
    """Of the `steps` steps that end at step `step`, of six an epoch and 16 examples each."""
    losses = np.linspace(1, 0.5, steps, dtype=np.float32) if loss is None else np.asarray(loss)
    params = {"hidden": {"w": jnp.arange(6.0).reshape(2, 3) * step}, "logits": {"b": jnp.ones(3)}}
    state = TrainState(params, {}, {}, jax.random.key(0), jnp.int32(step))
    info = Info(
        losses,
        {"accuracy": np.full(steps, 0.25, np.float32)},
        np.arange(steps, dtype=np.float32),
        distance,
        np.ones(steps, bool) if finite is None else np.asarray(finite),
        None if scale is None else np.asarray(scale, np.float32),
    )
    return Report(state, info, step, step / 6, evaluation, 0.5, 16 * steps, params)


def evaluation(loss=0.7):
    return Evaluation(
        jnp.float32(loss),
        {"accuracy": jnp.float32(0.875)},
        jnp.zeros((4, 2)),
        {"confusion": Confusion(jnp.eye(2), jnp.float32(0)), "error": jnp.float32(np.nan)},
    )
