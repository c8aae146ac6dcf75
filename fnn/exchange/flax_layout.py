"""Flax's layout of weights: nested variables, ``{"params": …, "batch_stats": …}``.

| our layer                        | flax.linen                   | what changes                        |
|----------------------------------|------------------------------|-------------------------------------|
| linear                           | Dense                        | nothing but names: kernel, bias     |
| convolution, depthwise           | Conv                         | nothing: kernel (h, w, C / g, F)    |
| transposed_convolution           | ConvTranspose                | kernel turned around: (h, w, C, F)  |
| batch_norm                       | BatchNorm                    | mean and var are its batch_stats    |
| layer, rms, group, instance_norm | the same                     | nothing                             |
| embedding, learned_positions     | Embed                        | our table is its embedding          |
| prelu                            | PReLU                        | negative_slope, one                 |
| rnn, lstm, gru, and cells        | SimpleCell, LSTMCell, …      | a matrix a gate; ours side by side  |
| multi_head_attention             | MultiHeadDotProductAttention | kernels (D, H, d) and (H, d, D)     |

Settings are no weights: they are to be given to our layers. Flax's defaults that differ from ours:
``momentum=0.99`` of BatchNorm, ``epsilon=1e-6`` of LayerNorm, GroupNorm and InstanceNorm. Its
ConvTranspose has no groups, and makes more than ours of a window below the stride, if "VALID".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fnn.exchange.flax_recurrent import GATES, recurrent_from_flax, recurrent_to_flax
from fnn.exchange.layout import Imported, Layout, Module, load, natural, save
from fnn.exchange.places import Place, array, groups_of_transposed, is_transposed
from fnn.layer import Layer, PyTree
from fnn.layers.attention_heads import MultiHeadAttentionParams
from fnn.layers.batch_norm import BatchNormState, PopulationState
from fnn.layers.convolution import ConvolutionParams
from fnn.layers.embedding import EmbeddingParams
from fnn.layers.linear import BiasParams, LinearParams
from fnn.layers.normalization import NormParams
from fnn.layers.positions import LearnedPositionsParams
from fnn.layers.rectifiers import PReluParams

_ATTENTION = ("query", "key", "value", "out")
_STATISTICS = ("mean", "var")
Variables = Mapping[str, Any]


def from_flax(
    net: Layer,
    params: PyTree,
    state: PyTree,
    variables: Variables,
    *,
    names: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """A flax module's variables as the `params` and `state` of `net`.

        params, state, *_ = from_flax(net, *net.init(key, x), module.init(key, x))

    Each layer with weights gets the module that `names` gives it, or the next one, in order, that has
    arrays of the same names and shapes. The order is that of `variables`; if that is the alphabet's, as
    after `jit` or `jax.tree.map`, it is put right for numbers (``Dense_2`` before ``Dense_10``), but for
    words it cannot be: where two layers have the same shapes, then name them, and let `parity` prove it.

    Args:
      net: the network.
      params: its parameters, which say shapes and dtypes.
      state: the same for its state.
      variables: ``{"params": …, "batch_stats": …}`` or the params alone, nested or flat with names such
        as ``Dense_0/kernel``; arrays or what NumPy takes for such.
      names: our path -> their module, such as ``{"block/conv_1": "Block_0/Conv_0"}``.
      ignore: patterns of names that are not used (`fnmatch`).

    Raises:
      ValueError: the weights are those of another network: the message lists what is missing, extra, or
        of another shape. Nothing is loaded then.
      TypeError: a layer has no counterpart in flax.
    """
    return load(LAYOUT, net, params, state, _flat(variables), names, ignore)


def to_flax(
    net: Layer, params: PyTree, state: PyTree, *, names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The network's weights as flax variables, for ``module.apply``.

    Modules are called after our paths, or as `names` says (the `taken` of what was imported). The bias
    of an attention's key, which cancels, is 0. "batch_stats" is there if there are any.

    Raises:
      ValueError: a name is no layer's, or two are one.
      TypeError: a layer has no counterpart in flax.
    """
    variables: dict[str, Any] = {"params": {}}
    for name, value in save(LAYOUT, net, params, state, names).items():
        *stem, last = name.split("/")
        within = variables.setdefault("batch_stats" if last in _STATISTICS else "params", {})
        for part in stem:
            within = within.setdefault(part, {})
        within[last] = value
    return variables


def _flat(variables: Variables) -> dict[str, Any]:
    """All arrays by their names, without the collections."""
    collections = {"params", "batch_stats"}
    if "params" in variables:
        unknown = sorted(set(variables) - collections)
        if unknown:
            raise ValueError(
                f"expected the collections {sorted(collections)}, got {unknown} as well"
            )
        trees = list(variables.values())
    else:
        trees = [variables]
    flat: dict[str, Any] = {}

    def walk(tree: Any, path: str) -> None:
        if isinstance(tree, Mapping):
            for name, below in tree.items():
                walk(below, f"{path}/{name}" if path else str(name))
        else:
            flat[path] = tree

    for tree in trees:
        walk(tree, "")
    return flat


def _theirs(place: Place) -> Module:
    params, state = place.params, place.state
    if isinstance(params, LinearParams):
        return _present(kernel=params.w, bias=params.b)
    if isinstance(params, BiasParams):
        return _present(bias=params.b)
    if isinstance(params, ConvolutionParams):
        return _present(kernel=_turned(place, params.w), bias=params.b)
    if isinstance(params, NormParams):
        if isinstance(state, PopulationState):
            raise TypeError(
                f"{place}: flax has no statistics over all elements seen; give batch_norm a momentum"
            )
        statistics = state._asdict() if isinstance(state, BatchNormState) else {}
        return _present(scale=params.scale, bias=params.bias, **statistics)
    if isinstance(params, EmbeddingParams | LearnedPositionsParams):
        return _present(embedding=params.table)
    if isinstance(params, PReluParams) and not np.ndim(params.slope):
        return _present(negative_slope=params.slope)
    if isinstance(params, MultiHeadAttentionParams):
        return _attention_to_flax(place)
    if type(params) in GATES:
        return recurrent_to_flax(place)
    raise TypeError(f"{place}: expected a layer that flax has, got {type(params).__name__}")


def _ours(place: Place, module: Module) -> tuple[PyTree, PyTree]:
    params, state = place.params, place.state
    kernel: Any = module.get("kernel")
    bias: Any = module.get("bias")
    if isinstance(params, LinearParams):
        return LinearParams(kernel, bias), state
    if isinstance(params, BiasParams):
        return BiasParams(bias), state
    if isinstance(params, ConvolutionParams):
        return ConvolutionParams(_turned(place, kernel), bias), state
    if isinstance(params, NormParams):
        if isinstance(state, BatchNormState):
            state = BatchNormState(module["mean"], module["var"])
        return NormParams(module.get("scale"), bias), state
    if isinstance(params, EmbeddingParams | LearnedPositionsParams):
        return type(params)(module["embedding"]), state
    if isinstance(params, PReluParams):
        return PReluParams(module["negative_slope"]), state
    if isinstance(params, MultiHeadAttentionParams):
        return _attention_from_flax(place, module), state
    return recurrent_from_flax(place, module), state


def _turned(place: Place, kernel: Any) -> Any:
    """The kernel of a transposed convolution by 180°: flax reads with it where we write."""
    kernel = array(kernel)
    if not is_transposed(place):
        return kernel
    if groups_of_transposed(place) > 1:
        raise TypeError(f"{place}: flax's ConvTranspose has no groups")
    return np.flip(kernel, axis=tuple(range(kernel.ndim - 2)))


def _attention_to_flax(place: Place) -> Module:
    """Heads as an axis of their own: that of the queries is not in the parameters, but in the name."""
    params: MultiHeadAttentionParams = place.params
    heads = _heads(place)
    width = params.w_query.shape[1] // heads
    if params.w_key.shape[1] != params.w_query.shape[1]:
        raise TypeError(f"{place}: flax's attention has a key for each head; got shared ones")
    module: Module = {}
    for name, w, b in (
        ("query", params.w_query, params.b_query),
        ("key", params.w_key, None),
        ("value", params.w_value, params.b_value),
    ):
        module[f"{name}/kernel"] = array(w).reshape(-1, heads, width)
        if params.b_query is not None:
            bias = np.zeros(w.shape[1:], w.dtype) if b is None else array(b)
            module[f"{name}/bias"] = bias.reshape(heads, width)
    module["out/kernel"] = array(params.w_out).reshape(heads, width, -1)
    if params.b_out is not None:
        module["out/bias"] = array(params.b_out)
    return module


def _attention_from_flax(place: Place, module: Module) -> MultiHeadAttentionParams:
    def flat(name: str) -> Any:
        value = module.get(f"{name}/bias")
        return None if value is None else value.reshape(-1)

    query, key, value = (
        module[f"{name}/kernel"].reshape(len(module[f"{name}/kernel"]), -1)
        for name in ("query", "key", "value")
    )
    out = module["out/kernel"]
    return MultiHeadAttentionParams(
        query, key, value, out.reshape(-1, out.shape[-1]), flat("query"), flat("value"), flat("out")
    )


def _heads(place: Place) -> int:
    found = re.search(r"multi_head_attention\((\d+)", place.layer.name)
    if found is None:
        raise TypeError(f"{place}: expected a layer whose name tells its heads")
    return int(found[1])


def _present(**values: Any) -> Module:
    return {name: array(value) for name, value in values.items() if value is not None}


def _modules(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    known = {name.rpartition("/")[0] for name in names}
    gates = {gate for kind in GATES.values() for gates in kind for gate in gates}
    found = {}
    for name in natural(names):
        stem, _, last = name.rpartition("/")
        outer, _, part = stem.rpartition("/")
        siblings = {f"{outer}/{other}" if outer else other for other in _ATTENTION}
        if part in gates or (part in _ATTENTION and siblings <= known):
            found[name] = outer, f"{part}/{last}"
        else:
            found[name] = stem, last
    return found


def _join(module: str, within: str) -> str:
    return f"{module}/{within}" if module else within


def _called(place: Place) -> str:
    return re.sub(r"\[(\d+)\]", r"_\1", place.path)


LAYOUT = Layout("flax", _theirs, _ours, _modules, _join, _called, ())
