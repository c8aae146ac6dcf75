"""Steps by the sign of a direction, whatever its size: signSGD, Lion, Rprop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array
from fnn.optimizers.descent import descend
from fnn.optimizers.dialects import check_dialect
from fnn.optimizers.hyperparameters import Given, check_hyper
from fnn.optimizers.leafwise import full, leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose
from fnn.optimizers.rules import Where
from fnn.optimizers.transforms.decay import decay_weights


def signs() -> Optimizer:
    """The sign of every element: ``u = sign(g)``, 0 at 0. Source: Bernstein et al. (2018)."""

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        del h, p  # the step depends on the gradient alone
        return (jnp.sign(g),)

    return leafwise(rule, hyper={})


def signs_of_mean(b1: Given, b2: Given) -> Optimizer:
    """Lion's direction: ``u = sign(b1 · m + (1 - b1) · g)``, then ``m ← b2 · m + (1 - b2) · g``.

    Source: Chen et al. (2023).

    Raises:
      ValueError: b1 or b2 is a number outside of [0, 1).
    """

    def rule(h: Any, g: Array, p: Array, m: Array) -> tuple[Array, Array]:
        del p  # the step depends on the gradients alone
        return jnp.sign(h.b1 * m + (1 - h.b1) * g), h.b2 * m + (1 - h.b2) * g

    return leafwise(rule, hyper={"b1": b1, "b2": b2}, slots={"mean": zeros})


def sign_sgd(rate: Given) -> Optimizer:
    """Descent by the sign: ``params ← params - rate · sign(g)``.

    Steps do not shrink near a minimum, so the rate has to fall. Hyperparameter: rate. The state holds
    nothing for the parameters. Source: Bernstein, Wang, Azizzadenesheli, Anandkumar (2018).
    """
    return compose(signs=signs(), rate=descend(rate))


def lion(
    rate: Given = 1e-4,
    b1: Given = 0.9,
    b2: Given = 0.99,
    weight_decay: Given = 0.0,
    *,
    decayed: Where = "*",
) -> Optimizer:
    """The sign of a mean of the gradients in which the last one counts more.

        u ← sign(b1 · m + (1 - b1) · g)
        m ← b2 · m + (1 - b2) · g
        params ← params - rate · (u + weight_decay · params)

    Its steps are as long as those of Adam can get, so its rate is 3 to 10 times smaller and the weight
    decay as much larger. Only what the path rule `decayed` selects decays, as in `adamw`. optax's default
    weight decay is 1e-3.
    Hyperparameters: rate, b1, b2, weight_decay. State: one slot. Source: Chen et al. (2023).

    Raises:
      ValueError: a pattern of `decayed` matches no path (by `init` and `update`).
    """
    return compose(
        signs=signs_of_mean(b1, b2),
        decay=decay_weights(weight_decay, decayed),
        rate=descend(rate),
    )


def rprop(
    rate: float | Array = 1e-2,
    shrink: Given = 0.5,
    grow: Given = 1.2,
    min_step: Given = 1e-6,
    max_step: Given = 50.0,
    *,
    dialect: str = "torch",
) -> Optimizer:
    """A step size for every parameter, which grows while its gradient keeps its sign. Full batches only.

        step ← step · grow      where g and the g before have the same sign, at most max_step
        step ← step · shrink    where they have not, at least min_step; there g ← 0, for "before" too
        params ← params - step · sign(g)

    "torch" is that (iRprop-): a parameter that has jumped over a minimum rests for one step. "paper" is
    Rprop with backtracking: such a parameter takes back its last step. optax 0.2.8 makes each step of
    "torch" one update too late, the first being 0 (its pull request 1725); that is no dialect here.

    `rate` is where all steps begin. It is no leaf of the state: the steps themselves are, and no schedule
    drives them. Hyperparameters: shrink, grow, min_step, max_step. State: two slots, the step sizes and
    the signs of the gradients before. Sources: Riedmiller, Braun (1993); Igel, Hüsken (2000).

    Raises:
      ValueError: an unknown dialect; a rate, min_step or max_step that is negative or not finite, a
        min_step above max_step, a shrink outside of [0, 1), or a grow below 1.
      TypeError: the rate is a schedule.
    """
    check_dialect(dialect, "torch", "paper")
    if callable(rate):
        raise TypeError(
            "expected a number for the rate of rprop, where its step sizes begin, got a schedule"
        )
    check_hyper(rate=rate, min_step=min_step, max_step=max_step)
    if not any(callable(x) or isinstance(x, jax.core.Tracer) for x in (min_step, max_step)):
        with jax.ensure_compile_time_eval():  # they may be constants of a function being traced
            least, most = np.asarray(min_step, np.float64), np.asarray(max_step, np.float64)
        if least > most:
            raise ValueError(f"expected min_step at most max_step, got {min_step} and {max_step}")

    def rule(h: Any, g: Array, p: Array, step: Array, before: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        now = jnp.sign(g)  # of a product of gradients, float32 would lose those below 1e-23
        agreement = now * before
        turned = agreement < 0
        scaled = jnp.where(agreement > 0, step * h.grow, jnp.where(turned, step * h.shrink, step))
        new = jnp.clip(scaled, h.min_step, h.max_step)
        # Where the sign turns, the last update was -step · before.
        back = step * before if dialect == "paper" else jnp.zeros_like(step)
        now = jnp.where(turned, jnp.zeros_like(now), now)
        return jnp.where(turned, back, -new * now), new, now

    return compose(
        steps=leafwise(
            rule,
            hyper={"shrink": shrink, "grow": grow, "min_step": min_step, "max_step": max_step},
            slots={"step": lambda p: full(p, rate), "sign": zeros},
        )
    )
