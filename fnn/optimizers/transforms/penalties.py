"""Penalties on the parameters: in the loss, as decay, as a proximal step; and the max-norm projection.

One penalty, four ways to use it, which lead to different places:

    penalized(value_and_grad(net, loss), l1(1e-4))                     in the loss and its gradient
    compose(penalty=add_penalty(l1(1e-4)), moments=…, rate=…)          its gradient alone: coupled
    compose(moments=…, penalty=add_penalty(l1(1e-4)), rate=…)          decoupled from the moments
    compose(rate=descend(rate), last=proximal_step(l1(1e-4), rate))    the exact step: true zeros

The gradient of L1 has the same size at any distance from 0, so that steps along it jump to and fro over
0; only the proximal step ends there.
"""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.optimizers.hyperparameters import Given, check_hyper
from fnn.optimizers.leafwise import leafwise
from fnn.optimizers.norms import shrink_to, unit_norms
from fnn.optimizers.optimizer import Optimizer
from fnn.optimizers.rules import Where, masked, selected


class Penalty(NamedTuple):
    """A price for the size of parameters: a sum over the elements of those that a path rule selects."""

    name: str
    strengths: Mapping[str, float]  # hyperparameters of the transforms made of it
    where: Where
    value: Callable[
        [Any, Array], Array
    ]  # (h, p) -> each element's price; h.l1 and h.l2 are scalars
    gradient: Callable[[Any, Array], Array]  # (h, p) -> its derivative, or a subgradient
    # (h, p, rate) -> argmin over q of rate · Σ value(q) + ½ ‖q - p‖²
    proximal: Callable[[Any, Array, Array], Array]

    def forward(self, params: PyTree) -> tuple[Array, PyTree]:
        """The penalty, a scalar of at least float32, and the cache, which is the parameters."""
        total = jnp.zeros((), float)
        leaves = zip(jax.tree.leaves(params), selected(self.where, params), strict=True)
        for p in (leaf for leaf, mine in leaves if mine):
            wide = p.astype(accumulation_dtype(p.dtype))
            total = total + self.value(self._strengths(wide), wide).sum().astype(total.dtype)
        return total, params

    def backward(self, cache: PyTree, dvalue: Array) -> PyTree:
        """The gradient with respect to the parameters, in their dtypes; 0 for those not selected."""
        leaves, structure = jax.tree.flatten(cache)
        grads = []
        for p, mine in zip(leaves, selected(self.where, cache), strict=True):
            wide = p.astype(accumulation_dtype(p.dtype))
            slope = self.gradient(self._strengths(wide), wide) if mine else jnp.zeros_like(wide)
            grads.append((jnp.asarray(dvalue).astype(wide.dtype) * slope).astype(p.dtype))
        return jax.tree.unflatten(structure, grads)

    def _strengths(self, like: Array) -> SimpleNamespace:
        given = {name: jnp.asarray(value, like.dtype) for name, value in self.strengths.items()}
        return SimpleNamespace(**given)


def l1(strength: float, where: Where = "*") -> Penalty:
    """``strength · Σ |p|``, whose subgradient is ``strength · sign(p)``, 0 at 0.

    Source: Tibshirani (1996).

    Raises:
      ValueError: a strength that is negative or not finite.
    """
    return elastic_net(strength, None, where)._replace(name=f"l1({strength})")


def l2(strength: float, where: Where = "*") -> Penalty:
    """``½ · strength · Σ p²``, whose gradient is ``strength · p``. Source: Hoerl, Kennard (1970).

    Raises:
      ValueError: a strength that is negative or not finite.
    """
    return elastic_net(None, strength, where)._replace(name=f"l2({strength})")


def elastic_net(l1: float | None, l2: float | None, where: Where = "*") -> Penalty:
    """``l1 · Σ |p| + ½ · l2 · Σ p²``; None leaves a term out. Source: Zou, Hastie (2005).

    Its proximal step with rate τ moves by τ · l1 towards 0, and no further, then divides by 1 + τ · l2.

    Raises:
      ValueError: a strength that is negative or not finite.
    """
    strengths = {name: x for name, x in {"l1": l1, "l2": l2}.items() if x is not None}
    check_hyper(**strengths)

    def value(h: Any, p: Array) -> Array:
        price = jnp.zeros_like(p)
        if l1 is not None:
            price = price + h.l1 * jnp.abs(p)
        return price if l2 is None else price + h.l2 * jnp.square(p) / 2

    def gradient(h: Any, p: Array) -> Array:
        slope = jnp.zeros_like(p)
        if l1 is not None:
            slope = slope + h.l1 * jnp.sign(p)
        return slope if l2 is None else slope + h.l2 * p

    def proximal(h: Any, p: Array, rate: Array) -> Array:
        if l1 is not None:
            p = jnp.sign(p) * jnp.maximum(jnp.abs(p) - rate * h.l1, jnp.zeros_like(p))
        return p if l2 is None else p / (1 + rate * h.l2)

    return Penalty(f"elastic_net({l1}, {l2})", strengths, where, value, gradient, proximal)


def penalized(value_and_grad: Callable[..., Any], penalty: Penalty) -> Callable[..., Any]:
    """A function like `fnn.gradient.value_and_grad`'s, with the penalty in the value and the gradient.

    Of ``f(params, …) -> ((mean, auxiliary), dparams)`` it makes one of the same signature; the losses of
    the single examples in `auxiliary` are without it.
    """

    def function(params: PyTree, *args: Any, **kwargs: Any) -> tuple[tuple[Array, Any], PyTree]:
        (mean, auxiliary), dparams = value_and_grad(params, *args, **kwargs)
        value, cache = penalty.forward(params)
        dpenalty = penalty.backward(cache, jnp.ones_like(value))
        total = mean + value.astype(mean.dtype)
        return (total, auxiliary), jax.tree.map(jnp.add, dparams, dpenalty)

    return function


def add_penalty(penalty: Penalty) -> Optimizer:
    """``u = g + ∇penalty(p)``: in the gradient when placed first, decoupled when after the moments.

    With `l2` it is `decay_weights`. Hyperparameters: the penalty's strengths, l1 and l2.

    Raises (by `init` and `update`):
      ValueError: a pattern of the penalty's path rule matches no path.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        return (g + penalty.gradient(h, p),)

    return _where(leafwise(rule, hyper=penalty.strengths), penalty.where)


def proximal_step(penalty: Penalty, rate: Given) -> Optimizer:
    """The penalty's proximal step after the update, to be placed last: gives L1's exact zeros.

    ``p + u ← argmin_q rate · penalty(q) + ½ ‖q - (p + g)‖²``, g the update that comes in. After plain
    descent with the same rate this is proximal gradient descent; `with_hyperparameters(rate=…)` changes
    both rates at once. Hyperparameters: rate, and the penalty's strengths, l1 and l2.
    Sources: Daubechies, Defrise, De Mol (2004); Parikh, Boyd (2014).

    Raises:
      ValueError: the rate is a number that is negative or not finite.
    Raises (by `init` and `update`):
      ValueError: a pattern of the penalty's path rule matches no path.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        # Where it is 0, p + (0 - p) is 0 exactly.
        return (penalty.proximal(h, p + g, h.rate) - p,)

    hyper = {**penalty.strengths, "rate": rate}
    return _where(leafwise(rule, hyper=hyper), penalty.where)


def project_max_norm(
    limit: Given, where: Where = "*", axis: int | Sequence[int] | None = None
) -> Optimizer:
    """Each unit's incoming weights back to the norm `limit`, where the update leads beyond it.

    To be placed last: ``p + u ← min(1, limit / ‖p_i + g_i‖) · (p_i + g_i)`` for each unit i, g the update
    that comes in. A unit is a column of the weights (in, out) of a linear layer, or an output channel of
    a kernel (height, width, in, out): the norm is over all axes but the last, or over `axis`. Vectors
    and scalars (biases, scales) pass as they are. Hyperparameter: limit.
    Source: Srebro, Shraibman (2005); Srivastava et al. (2014).

    Raises:
      ValueError: the limit is a number that is negative or not finite.
    Raises (by `init` and `update`):
      ValueError: a pattern of the path rule matches no path.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        if g.ndim < 2:
            return (g,)
        moved = p + g
        inside = shrink_to(h.limit, moved, unit_norms(moved, axis))
        return (jnp.where(inside == moved, g, inside - p),)

    return _where(leafwise(rule, hyper={"limit": limit}), where)


def _where(transform: Optimizer, where: Where) -> Optimizer:
    return transform if where == "*" else masked(transform, where)
