"""The contract: a network is a value, and its backward pass is one of its fields.

A `Layer` is a named tuple of pure functions over explicit trees:

    init(key, x)                    -> (params, state)     x: arrays or ShapeDtypeStructs
    forward(params, state, x, key)  -> (y, state, cache)   the training pass
    backward(params, cache, dy)     -> (dparams, dx)       written by hand
    predict(params, state, x)       -> y                   the inference pass

- There is no training flag: `forward` is always the training pass, `predict` never is.
- `params` are trained, `state` is carried but not trained (running statistics), and `cache` is what
  `forward` saves for `backward`.
- `dparams` has exactly the tree, shapes and dtypes of `params`, `dx` those of `x`; `dx` is `None`
  for integer inputs. `x` and `dy` may hold numpy arrays, and `dy` another dtype than `y`.
- What `backward` needs that is no array (a shape, an axis) lies in the cache as a `Static` node,
  which has no leaves, so that a cache crosses `jit`, `scan` and `vmap`.
- `key` may be `None` for a network that draws nothing. A layer that does draw raises without one.
- Nothing is hidden: no base class, no registry, no global mode. `jit`, `vmap`, `grad`, `scan` and
  sharding apply to the functions as they are.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
PyTree = Any
Key = jax.Array | None
Hashed = TypeVar("Hashed", bound=Hashable, covariant=True)


class InitFunction(Protocol):
    """Draws the parameters and the first state for inputs shaped like `x`."""

    def __call__(self, key: Key, x: PyTree, /) -> tuple[PyTree, PyTree]: ...


class ForwardFunction(Protocol):
    """The training pass: the output, the next state, and what `backward` will need."""

    def __call__(
        self, params: PyTree, state: PyTree, x: PyTree, key: Key, /
    ) -> tuple[PyTree, PyTree, PyTree]: ...


class BackwardFunction(Protocol):
    """The transpose of the forward pass's derivative, applied to dy = dL/dy."""

    def __call__(self, params: PyTree, cache: PyTree, dy: PyTree, /) -> tuple[PyTree, PyTree]: ...


class PredictFunction(Protocol):
    """The inference pass."""

    def __call__(self, params: PyTree, state: PyTree, x: PyTree, /) -> PyTree: ...


class Layer(NamedTuple):
    """A network, or a piece of one: four pure functions under a name.

    `parts` and `rebuild` make a container transparent: `parts` are its children by name, in order,
    and `rebuild(parts)` is the same container around other children. A leaf has neither. With the
    two, a whole network can be mapped (see `map_layers`) without any hook inside it.
    """

    name: str
    init: InitFunction
    forward: ForwardFunction
    backward: BackwardFunction
    predict: PredictFunction
    parts: Mapping[str, "Layer"] = MappingProxyType({})
    rebuild: Callable[[Mapping[str, "Layer"]], "Layer"] | None = None


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static(Generic[Hashed]):
    """A hashable value that travels in a cache without being an array: a pytree with no leaves."""

    value: Hashed


def no_params(key: Key, x: PyTree) -> tuple[()]:
    """The `init` of a layer that has no parameters."""
    del key, x  # nothing to draw, nothing to shape
    return ()


def pure(
    name: str,
    forward: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    backward: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]],
    init: Callable[[Key, PyTree], PyTree] = no_params,
    predict: Callable[[PyTree, PyTree], PyTree] | None = None,
) -> Layer:
    """Lift a fixed map of (params, x), with no state and no randomness, to a full `Layer`.

    Args:
      name: what summaries and unnamed children are called after, such as ``linear(512)``.
      forward: ``forward(params, x) -> (y, cache)``; its `x` holds jax arrays.
      backward: ``backward(params, cache, dy) -> (dparams, dx)``; its `dy` holds jax arrays, or is None
        where the output is of integers that no gradient comes back for.
      init: ``init(key, x) -> params``; without it the layer has no parameters, `()`.
      predict: ``predict(params, x) -> y``, where that is cheaper than `forward` without its cache.

    Raises:
      TypeError: of a pass: `forward` or `backward` did not return a pair.
    """

    def full_init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        return init(key, x), ()

    def full_forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        del key  # a fixed map draws nothing
        y, cache = _pair(name, "forward to return (y, cache)", forward(params, as_arrays(x)))
        return y, state, cache

    def full_backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        gradients = backward(params, cache, as_arrays(dy))
        return _pair(name, "backward to return (dparams, dx)", gradients)

    def full_predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        del state  # a fixed map carries nothing
        x = as_arrays(x)
        if predict is not None:
            return predict(params, x)
        return _pair(name, "forward to return (y, cache)", forward(params, x))[0]

    return Layer(name, full_init, full_forward, full_backward, full_predict)


def _pair(name: str, expected: str, given: object) -> tuple[PyTree, PyTree]:
    """What is given, if it is a pair: an array of two rows, say, would be taken apart without a word."""
    if not isinstance(given, tuple) or len(given) != 2:
        got = f"{len(given)} entries" if isinstance(given, tuple) else type(given).__name__
        got = f"one array of shape {given.shape}" if isinstance(given, jax.Array) else got
        raise TypeError(f"{name}: expected {expected}, got {got}")
    return given


def forward_pass(
    layer: Layer, params: PyTree, state: PyTree, x: PyTree, key: Key = None
) -> tuple[PyTree, PyTree, PyTree]:
    """x -> (y, state, cache): the training pass of `layer`."""
    return layer.forward(params, state, x, key)


def backward_pass(layer: Layer, params: PyTree, cache: PyTree, dy: PyTree) -> PyTree:
    """dL/dy -> dL/dx. Under `jit`, the parameter gradients are not computed."""
    return layer.backward(params, cache, dy)[1]


def parameter_gradients(layer: Layer, params: PyTree, cache: PyTree, dy: PyTree) -> PyTree:
    """dL/dy -> dL/dparams. Under `jit`, the input gradient of the first layer is not computed."""
    return layer.backward(params, cache, dy)[0]


def as_arrays(tree: PyTree) -> PyTree:
    """The same tree with jax arrays for leaves: data and cotangents may arrive as numpy.

    Raises:
      ValueError: an integer of numpy does not fit into the dtype that jax has for it.
    """
    return jax.tree.map(_as_array, tree)


def _as_array(leaf: Any) -> Array:
    array = jnp.asarray(leaf)
    given = getattr(leaf, "dtype", array.dtype)
    if given != array.dtype and jnp.issubdtype(given, jnp.integer):
        # Cut to 32 bits, a length or an id that is none could become one.
        limits, numbers = jnp.iinfo(array.dtype), np.asarray(leaf)
        lost = numbers[(numbers < limits.min) | (numbers > limits.max)]
        if lost.size:
            raise ValueError(
                f"expected integers that {array.dtype} holds, got {lost[0]} of {given}; jax has wider "
                "ones if jax_enable_x64 is set"
            )
    return array


def output_shape(layer: Layer, params: PyTree, state: PyTree, x: PyTree) -> PyTree:
    """Shapes and dtypes of ``layer.predict``'s output, found without running it."""
    return jax.eval_shape(layer.predict, params, state, x)


def map_layers(function: Callable[[str, Layer], Layer], layer: Layer, path: str = "") -> Layer:
    """The same network with every leaf layer replaced by ``function(path, leaf)``.

    Raises:
      ValueError: a container has children but no `rebuild`, so it cannot be mapped.
    """
    if not layer.parts:
        return function(path, layer)
    if layer.rebuild is None:
        raise ValueError(
            f"{path or layer.name}: expected a container with `rebuild`, got one with the parts "
            f"{list(layer.parts)} and none; give its Layer a `rebuild(parts)`"
        )
    parts = {
        name: map_layers(function, part, f"{path}/{name}" if path else name)
        for name, part in layer.parts.items()
    }
    return layer.rebuild(parts)
