"""Rates for every parameter of its own, from the squares of its gradients: AdaGrad, RMSProp, AdaDelta."""

from typing import Any

import jax
import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.descent import descend, trace, velocity
from fnn.optimizers.dialects import check_dialect
from fnn.optimizers.hyperparameters import Given, check_hyper
from fnn.optimizers.leafwise import full, leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose


def scale_by_sum_of_squares(
    eps: Given, *, eps_inside: bool = False, initial: float | Array = 0.0
) -> Optimizer:
    """Over the root of all squares so far: ``s ← s + g²``, then ``u = g / (√s + eps)``.

    With `eps_inside` ``u = g / √(s + eps)``. The sum starts at `initial`. Source: Duchi et al. (2011).

    Raises:
      ValueError: eps or initial is a number that is negative or not finite.
    """
    check_hyper(initial=initial)

    def rule(h: Any, g: Array, p: Array, s: Array) -> tuple[Array, Array]:
        del p  # the step depends on the gradients alone
        s = s + jnp.square(g)
        return _over_root(g, s, h.eps, eps_inside), s

    return leafwise(rule, hyper={"eps": eps}, slots={"sum": lambda p: full(p, initial)})


def scale_by_mean_square(
    decay: Given,
    eps: Given,
    *,
    eps_inside: bool = False,
    initial: float | Array = 0.0,
    centred: bool = False,
) -> Optimizer:
    """Over the root of the mean square: ``v ← decay · v + (1 - decay) · g²``, ``u = g / (√v + eps)``.

    With `eps_inside` ``u = g / √(v + eps)``. The mean starts at `initial`. `centred` takes the variance
    about the mean gradient m instead. It is v - m², but not made by that subtraction, of which only
    rounding is left where gradients change little:

        v ← decay · (v + (1 - decay) · (g - m)²)        m ← decay · m + (1 - decay) · g

    Source: Tieleman, Hinton (2012); centred: Graves (2013).

    Raises:
      ValueError: the decay is a number outside of [0, 1), or eps or initial one that is negative or not
        finite.
    """
    check_hyper(initial=initial)

    def rule(h: Any, g: Array, p: Array, v: Array) -> tuple[Array, Array]:
        del p  # the step depends on the gradients alone
        v = h.decay * v + (1 - h.decay) * jnp.square(g)
        return _over_root(g, v, h.eps, eps_inside), v

    def centred_rule(h: Any, g: Array, p: Array, v: Array, m: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        # The new m, from which g is decay times as far as from the old one: two loops that read what
        # one of them writes would make XLA:CPU copy it. At a decay of 0 both distances are 0.
        m = h.decay * m + (1 - h.decay) * g
        share = (1 - h.decay) / jnp.where(h.decay > 0, h.decay, jnp.ones_like(h.decay))
        v = h.decay * v + share * jnp.square(g - m)
        return _over_root(g, v, h.eps, eps_inside), v, m

    hyper = {"decay": decay, "eps": eps}
    if centred:
        slots = {"variance": lambda p: full(p, initial), "mean": zeros}
        return leafwise(centred_rule, hyper=hyper, slots=slots)
    return leafwise(rule, hyper=hyper, slots={"square": lambda p: full(p, initial)})


def scale_by_last_updates(decay: Given, eps: Given) -> Optimizer:
    """AdaDelta's direction, which has the units of the parameters.

        v ← decay · v + (1 - decay) · g²
        u = g · √(w + eps) / √(v + eps)
        w ← decay · w + (1 - decay) · u²

    Source: Zeiler (2012).

    Raises:
      ValueError: the decay is a number outside of [0, 1), or eps one that is negative or not finite.
    """

    def rule(h: Any, g: Array, p: Array, v: Array, w: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        v = h.decay * v + (1 - h.decay) * jnp.square(g)
        total = v + h.eps
        # One root and not two, which XLA:CPU would keep for the length of the step.
        u = g * jnp.sqrt((w + h.eps) / jnp.where(total == 0, jnp.ones_like(total), total))
        w = h.decay * w + (1 - h.decay) * jnp.square(u)
        return u, v, w

    slots = {"square": zeros, "square_update": zeros}
    return leafwise(rule, hyper={"decay": decay, "eps": eps}, slots=slots)


def adagrad(rate: Given, eps: Given | None = None, *, dialect: str = "cs231n") -> Optimizer:
    """A rate that falls with all the squares of a parameter's gradients so far.

        s ← s + g²
        "cs231n":   params ← params - rate · g / (√s + eps)         s from 0,   eps 1e-8
        "optax":    params ← params - rate · g / √(s + eps)         s from 0.1, eps 1e-7

    The effective rate, rate / √s, never grows again. The first step is -rate · sign(g) of "cs231n", for
    gradients well above eps, and shorter of "optax", much so for gradients well below √0.1.
    "cs231n" is the form of the lecture notes and torch's, whose eps is 1e-10 and whose lr_decay is a
    schedule, 1/t; "optax" is Keras's too. Hyperparameters: rate, eps. State: one slot.
    Source: Duchi, Hazan, Singer (2011).

    Raises:
      ValueError: an unknown dialect.
    """
    check_dialect(dialect, "cs231n", "optax")
    if dialect == "optax":
        scale = scale_by_sum_of_squares(1e-7 if eps is None else eps, eps_inside=True, initial=0.1)
    else:
        scale = scale_by_sum_of_squares(1e-8 if eps is None else eps)
    return compose(scale=scale, rate=descend(rate))


def rmsprop(
    rate: Given,
    decay: Given = 0.9,
    eps: Given = 1e-8,
    *,
    momentum: Given | None = None,
    centred: bool = False,
    initial: float | Array = 0.0,
    dialect: str = "torch",
) -> Optimizer:
    """A rate that follows the recent squares of a parameter's gradients.

        v ← decay · v + (1 - decay) · g²
        "torch":   u ← g / (√v + eps)        params ← params - rate · u
                                or with momentum  m ← momentum · m + u      params ← params - rate · m
        "optax":   u ← g / √(v + eps)        params ← params - rate · u
                                or with momentum  m ← momentum · m - rate · u      params ← params + m

    Where eps stands matters as soon as gradients are small: √1e-8 is 1e-4. "torch" is the form of the
    lecture notes (cs231n) as well, "optax" that of TensorFlow and Keras. v starts at `initial`, 1 in
    TensorFlow 1. `centred` puts the variance of the gradients, v - (mean of g)², in v's place, and never
    takes the root of a negative one. A gradient that does not change has none, and is divided by eps
    alone: the source has 1e-4 inside of the root. A momentum of 0 can be raised later, None cannot.
    torch's own default decay is 0.99. Hyperparameters: rate, decay, eps; momentum if given. State: one
    slot, one more with momentum, one more if centred.
    Sources: Tieleman, Hinton (2012); centred, with momentum: Graves (2013).

    Raises:
      ValueError: an unknown dialect, or an initial that is negative or not finite.
    """
    check_dialect(dialect, "torch", "optax")
    scale = scale_by_mean_square(
        decay, eps, eps_inside=dialect == "optax", initial=initial, centred=centred
    )
    if momentum is None:
        return compose(scale=scale, rate=descend(rate))
    if dialect == "optax":
        return compose(scale=scale, velocity=velocity(rate, momentum, name="momentum"))
    return compose(scale=scale, trace=trace(momentum, name="momentum"), rate=descend(rate))


def adadelta(rate: Given = 1.0, decay: Given = 0.9, eps: Given = 1e-6) -> Optimizer:
    """Steps as long as the last ones, by the ratio of their root mean square to the gradients'.

        v ← decay · v + (1 - decay) · g²
        u ← g · √(w + eps) / √(v + eps)
        w ← decay · w + (1 - decay) · u²
        params ← params - rate · u

    The first step is of length √(eps / (1 - decay)), and eps decides how long steps take to grow. torch,
    Keras and optax do the same; Keras's defaults are rate 1e-3, decay 0.95 and eps 1e-7.
    Hyperparameters: rate, decay, eps. State: two slots. Source: Zeiler (2012).
    """
    return compose(scale=scale_by_last_updates(decay, eps), rate=descend(rate))


def _over_root(g: Array, square: Array, eps: Array, eps_inside: bool) -> Array:
    """``g / (√square + eps)`` or ``g / √(square + eps)``; 0 where all is 0, eps too."""
    if eps_inside:
        total = square + eps
        return g * jax.lax.rsqrt(jnp.where(total == 0, jnp.ones_like(total), total))
    root = jnp.sqrt(square) + eps
    return g / jnp.where(root == 0, jnp.ones_like(root), root)
