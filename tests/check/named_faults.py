"""A table of mistakes of one kind each, and the name that the diagnosis has for it."""

import jax
import jax.numpy as jnp
from planted import (
    PAIR,
    X,
    affine,
    batch_norm,
    data,
    elementwise,
    gate,
    layer_norm,
    logistic,
    rectifier,
    square,
)

from fnn import layers
from fnn.layer import pure


# What the diagnosis of each of the planted faults says, by the fault's name.
def on_x(change):
    """A fault of dx: ``change(params, cache, dx, dy)``."""
    return lambda params, cache, dparams, dx, dy: (dparams, change(params, cache, dx, dy))


def on_w(change):
    """A fault of dw: ``change(params, cache, dw, dy)``."""
    return lambda params, cache, dparams, dx, dy: (
        dparams._replace(w=change(params, cache, dparams.w, dy)),
        dx,
    )


def cast(array, dtype):
    return array.astype(dtype).astype(array.dtype)


def sigmoid(x):
    return jax.nn.sigmoid(x)


SQUARE = data(6, 6)
tanh = elementwise("tanh", jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2)
product = pure(
    "product",
    lambda w, x: (x @ w, x),
    lambda w, x, dy: (x.T @ dy, dy @ w.T),
    lambda key, x: jax.random.normal(key, (x.shape[1], 4), jnp.float32),
)
quadratic = pure(
    "quadratic",
    lambda a, x: ((x @ a * x).sum(1), x),
    lambda a, x, dy: (jnp.einsum("ni,nj,n->ij", x, x, dy), dy[:, None] * (x @ (a + a.T))),
    lambda key, x: jax.random.normal(key, (5, 5), jnp.float32),
)

# (layer, fault, x, a part of the sentence)
NAMED = {
    "clipped": (
        affine(5),
        on_x(lambda p, c, dx, dy: dx.clip(-0.3, 0.3)),
        X,
        "clipped to [-0.3, 0.3]",
    ),
    "norm 1": (
        affine(5),
        on_w(lambda p, c, dw, dy: dw / jnp.linalg.norm(dw)),
        X,
        "rescaled to the norm 1, so it is not linear in dy",
    ),
    "absolute": (square, on_x(lambda p, x, dx, dy: abs(dx)), X, "a sign is lost"),
    "dy squared": (
        affine(5),
        on_x(lambda p, c, dx, dy: (dy * abs(dy)) @ p.w.T),
        X,
        "twice the dy gives 4 times the gradient",
    ),
    "float32": (affine(5), on_x(lambda p, c, dx, dy: cast(dx, jnp.float32)), X, "is a float32"),
    "bfloat16": (affine(5), on_x(lambda p, c, dx, dy: cast(dx, jnp.bfloat16)), X, "is a bfloat16"),
    "half the batch": (
        affine(5),
        on_w(lambda p, x, dw, dy: x[:3].T @ dy[:3]),
        X,
        "the slice 3:6 of dy's axis 0 is left out",
    ),
    "weight decay": (
        affine(5),
        on_w(lambda p, c, dw, dy: dw + 0.01 * p.w),
        X,
        "plus 0.01 · params/w, which does not depend on dy",
    ),
    "constant noise": (
        affine(5),
        on_x(lambda p, c, dx, dy: dx + data(6, 5, seed=3)),
        X,
        "plus a term that does not depend on dy",
    ),
    "tanh of y": (
        tanh,
        on_x(lambda p, x, dx, dy: dy * (1 - jnp.tanh(x))),
        X,
        "it has -y·dy where -y²·dy is right",
    ),
    "sigmoid y": (logistic, on_x(lambda p, x, dx, dy: dy * sigmoid(x)), X, "nothing but y·dy"),
    "sigmoid 1 - y": (
        logistic,
        on_x(lambda p, x, dx, dy: dy * sigmoid(-x)),
        X,
        "the factor y is missing",
    ),
    "leak": (
        rectifier,
        on_x(lambda p, x, dx, dy: jnp.where(x > 0, dy, 0.01 * dy)),
        X,
        "wrong only where x < 0: there it is 0.01 · dy, where the right one is 0",
    ),
    "another threshold": (
        rectifier,
        on_x(lambda p, x, dx, dy: jnp.where(x > 0.4, dy, 0)),
        X,
        "wrong only where 0 < x < 0.4, where it is 0",
    ),
    "sign below zero": (
        square,
        on_x(lambda p, x, dx, dy: 2 * dy * abs(x)),
        X,
        "wrong only where x < 0: there its sign is wrong",
    ),
    "infinite below zero": (
        rectifier,
        on_x(lambda p, x, dx, dy: jnp.where(x > 0, dx, jnp.inf)),
        X,
        "infinite only where x < 0",
    ),
    "a column": (
        affine(5),
        on_w(lambda p, c, dw, dy: dw.at[:, 2:4].multiply(3)),
        X,
        "of dy's axis 1, index 2 counts 3 times and index 3 counts 3 times",
    ),
    "a row": (affine(5), on_w(lambda p, c, dw, dy: dw.at[1].set(0)), X, "in [1, :], where it is 0"),
    "only for symmetric a": (
        quadratic,
        on_x(lambda a, x, dx, dy: 2 * dy[:, None] * (x @ a)),
        X,
        "right where params is symmetric, and wrong elsewhere",
    ),
    "x for its transpose": (
        product,
        lambda w, x, dw, dx, dy: (x @ dy, dx),
        SQUARE,
        "the gradient for x transposed",
    ),
    "transposed, reshaped": (
        product,
        lambda w, x, dw, dx, dy: ((dy.T @ x).reshape(6, 4), dx),
        SQUARE,
        "transposed, then reshaped",
    ),
    "permuted": (
        affine(5),
        on_x(lambda p, c, dx, dy: dx[:, jnp.array([1, 0, 2, 4, 3])]),
        X,
        "along axis 1 the order is [1, 0, 2, 4, 3]",
    ),
    "reversed": (
        affine(5),
        on_w(lambda p, c, dw, dy: dw[::-1]),
        X,
        "in reverse order along axis 0",
    ),
    "shifted": (
        affine(5),
        on_x(lambda p, c, dx, dy: jnp.pad(dx, ((1, 0), (0, 0)))[:-1]),
        X,
        "shifted by 1 along axis 0",
    ),
    "no sum": (
        affine(5),
        lambda p, c, dp, dx, dy: (dp._replace(b=dy), dx),
        X,
        "the sum over axis 0 is missing",
    ),
    "another leaf, one way": (
        layer_norm,
        lambda p, c, dp, dx, dy: (dp._replace(scale=dp.bias), dx),
        X,
        "this is the gradient of params/bias",
    ),
    "inverse twice": (
        batch_norm,
        on_x(lambda p, c, dx, dy: dx * c.inverse),
        X,
        "the right one times cache/inverse: a factor too many",
    ),
    "scale missing in one term": (
        layer_norm,
        on_x(lambda p, c, dx, dy: _projected_without_scale(p, c, dy)),
        X,
        "mean(params/scale·cache/normal·dy, axis 1): one of the two stands where the other is right",
    ),
    "mean for sum of all": (
        gate,
        lambda p, c, dp, dx, dy: ({"in": {"gain": dp["in"]["gain"] / 12}}, dx),
        PAIR,
        "1/n with n = 12, the number of elements of x/0",
    ),
    "gain missing": (
        gate,
        lambda p, c, dp, dx, dy: (dp, (dy * c[1], dx[1])),
        PAIR,
        "1 / (params/in/gain)",
    ),
    "mask forgotten": (
        layers.dropout(0.5),
        on_x(lambda p, c, dx, dy: 2 * jnp.asarray(dy)),
        X,
        "wrong only where y = 0: there it is 2 · dy, where the right one is 0",
    ),
}


def _projected_without_scale(params, cache, dy):
    dnormal = dy * params.scale[None, :]
    along = (dy * cache.normal).mean(1, keepdims=True)
    return cache.inverse * (dnormal - dnormal.mean(1, keepdims=True) - cache.normal * along)
