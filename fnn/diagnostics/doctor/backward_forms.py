"""Whether the hand-written backward passes run at all, and give trees like params and x."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.doctor.diagnosis import Verdict, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.gradient import mean_over_examples
from fnn.layer import Array, Key, Layer, PyTree, Static, map_layers
from fnn.losses import Loss
from fnn.tree import paths


class _Given(NamedTuple):
    """A layer's own cache, and what its input looked like."""

    cache: PyTree
    x: Static[Any]  # (its tree, the shape and dtype of each leaf)


def shapes(patient: Patient) -> Verdict | None:
    """The verdict on a backward pass that raises or gives no tree like params and x; None without one.

    By shapes alone, nothing is computed: every leaf layer is asked at what it really receives. One that
    is wrong is taken for one that gives zeros, so that those before it are asked too.
    """
    wrong: dict[str, str] = {}
    net = map_layers(lambda path, layer: _watched(path, layer, wrong), patient.net)
    loss = patient.loss

    def step(params: PyTree, state: PyTree, x: PyTree, target: PyTree, key: Key) -> PyTree:
        prediction, _, cache = net.forward(params, state, x, key)
        losses, loss_cache = loss.forward(prediction, target)
        _, dlosses = mean_over_examples(losses, None)
        dprediction = _told(loss, loss_cache, dlosses, prediction, wrong)
        return net.backward(params, cache, dprediction)

    for count in (patient.batch_size, patient.budget.proof):  # one of them may be that of the units
        jax.eval_shape(step, patient.params, patient.state, *patient.some(count), patient.key)
    if not wrong:
        return None
    (path, said), *others = wrong.items()
    more = f"; and so of {', '.join(each for each, _ in others)}" if others else ""
    return sick(
        "gradient",
        "wrong backward",
        f"{said}{more}",
        f"return (dparams, dx) from the backward pass of {path}: dparams like params, and dx like x, "
        "with None for integers alone; prove it with check.layer",
        path=path,
    )


def _watched(path: str, layer: Layer, wrong: dict[str, str]) -> Layer:
    """The layer; what is wrong with the form of its gradients goes into `wrong`, by its path."""
    path = path or layer.name

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, _Given]:
        y, state, cache = layer.forward(params, state, x, key)
        leaves, tree = jax.tree.flatten(x)
        like = tuple(jax.ShapeDtypeStruct(np.shape(a), jnp.result_type(a)) for a in leaves)
        return y, state, _Given(cache, Static((tree, like)))

    def backward(params: PyTree, given: _Given, dy: PyTree) -> tuple[PyTree, PyTree]:
        tree, like = given.x.value
        x = tree.unflatten(like)
        try:
            gradients = layer.backward(params, given.cache, dy)
        except Exception as error:
            # What a layer raises here is the very thing that is asked: the verdict says it.
            wrong.setdefault(path, f"its backward raises {_first_line(error)}")
            return _zeros(params), _zeros(x)
        said = _misformed(gradients, params, x)
        if said:
            wrong.setdefault(path, said)
            return _zeros(params), _zeros(x)
        return gradients

    return layer._replace(forward=forward, backward=backward)


def _told(
    loss: Loss, cache: PyTree, dlosses: Array, prediction: PyTree, wrong: dict[str, str]
) -> PyTree:
    """dL/dprediction, in the form of the prediction even where the loss gives another."""
    try:
        dprediction = loss.backward(cache, dlosses)
    except Exception as error:
        wrong.setdefault(loss.name, f"its backward raises {_first_line(error)}")
        return _zeros(prediction)
    said = _differs("dprediction", dprediction, "the prediction", prediction)
    if said:
        wrong.setdefault(loss.name, said)
        return _zeros(prediction)
    return dprediction


def _misformed(gradients: object, params: PyTree, x: PyTree) -> str:
    """What is wrong with the form of what a backward pass gave; empty where nothing is."""
    if not isinstance(gradients, tuple) or len(gradients) != 2:
        got = f"{len(gradients)} entries" if isinstance(gradients, tuple) else _form(gradients)
        return f"expected backward to return (dparams, dx), got {got}"
    dparams, dx = gradients
    return _differs("dparams", dparams, "params", params) or _differs("dx", dx, "x", x)


def _differs(name: str, given: PyTree, like_name: str, like: PyTree) -> str:
    own, expected = dict(paths(given)), dict(paths(like))
    for path, leaf in expected.items():
        if not differentiable(leaf):
            continue
        at = f"/{path}" if path else ""
        if path not in own:
            there = "None" if given is None or not own else "missing"
            return f"{name}{at} is {there}, {like_name}{at} is {_form(leaf)}"
        if np.shape(own[path]) != np.shape(leaf):
            return f"{name}{at} is {_form(own[path])}, {like_name}{at} is {_form(leaf)}"
    if more := [path for path in own if path not in expected]:
        return f"{name} has {', '.join(map(repr, more))}, which {like_name} has not"
    alike = all(map(differentiable, expected.values()))
    forms = {jax.tree.structure(tree) for tree in (given, like)}
    if alike and len(forms) > 1:
        return f"{name} is a {type(given).__name__}, {like_name} is a {type(like).__name__}"
    return ""


def differentiable(leaf: Any) -> bool:
    """Whether it is of a dtype that has gradients."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _zeros(like: PyTree) -> PyTree:
    return jax.tree.map(
        lambda a: jnp.zeros(np.shape(a), a.dtype) if differentiable(a) else None, like
    )


def _form(leaf: Any) -> str:
    """``float32[32,10]``, or what it is if it is no array."""
    if not hasattr(leaf, "dtype"):
        return "None" if leaf is None else f"a {type(leaf).__name__}"
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
