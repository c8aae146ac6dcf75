"""PyTorch's layout of weights: the names and shapes of a `state_dict`, as NumPy arrays.

| our layer                 | torch.nn             | what changes                                    |
|---------------------------|----------------------|-------------------------------------------------|
| linear, bias              | Linear               | weight (out, in); ours is (in, out)             |
| convolution, depthwise    | Conv1d, 2d, 3d       | (F, C / g, h, w); ours is (h, w, C / g, F)      |
| transposed_convolution    | ConvTranspose1d, …   | (C, F / g, h, w); ours is (h, w, C / g, F)      |
| batch_norm                | BatchNorm1d, 2d, 3d  | running_mean and running_var are our state      |
| layer, rms, group, instance_norm | the same      | weight is our scale                             |
| embedding, learned_positions     | Embedding     | nothing                                         |
| prelu                     | PReLU                | weight is (1,) for one slope                    |
| rnn, lstm, gru, and cells | RNN, LSTM, GRU, …    | (gates · H, D); two biases, we have their sum   |
| multi_head_attention      | MultiheadAttention   | one in_proj for query, key and value            |

Settings are no weights: they are to be given to our layers. torch's defaults that differ from ours:
``momentum=0.1`` is our 0.9, the share of the old, and its running variance is the unbiased one, our
``batch_norm(unbiased=True)``; convolutions have ``padding=0``, and pad both sides alike, which "SAME"
with a stride need not do; GELU is the exact one, our ``gelu(approximate=False)``; the eps of RMSNorm is
that of the dtype, 1.2e-7 in float32. `num_batches_tracked`, a count of batches, is ignored.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fnn.exchange.layout import Imported, Layout, Module, Tensors, load, natural, save
from fnn.exchange.places import Place, array, groups_of_transposed, is_transposed, places
from fnn.exchange.torch_attention import attention_from_torch, attention_to_torch
from fnn.exchange.torch_recurrent import RECURRENT
from fnn.layer import Layer, PyTree
from fnn.layers.attention_heads import MultiHeadAttentionParams
from fnn.layers.batch_norm import BatchNormState
from fnn.layers.convolution import ConvolutionParams
from fnn.layers.embedding import EmbeddingParams
from fnn.layers.linear import BiasParams, LinearParams
from fnn.layers.normalization import NormParams
from fnn.layers.positions import LearnedPositionsParams
from fnn.layers.rectifiers import PReluParams

_RECURRENT_NAME = re.compile(r"(?:(.*)\.)?((?:weight|bias)_(?:ih|hh))(?:_(l\d+(?:_reverse)?))?")


def from_torch(
    net: Layer,
    params: PyTree,
    state: PyTree,
    tensors: Tensors,
    *,
    names: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> Imported:
    """A torch module's weights as the `params` and `state` of `net`.

        tensors = {name: t.numpy() for name, t in module.state_dict().items()}      # there
        params, state, *_ = from_torch(net, *net.init(key, x), tensors)             # here
        params, state, *_ = from_torch(net, params, state, tensors, names={"logits": "fc"})

    Each layer with weights gets the module that `names` gives it, or the next one, in order, that has
    arrays of the same names and shapes. The order is that of `tensors`; if that is the alphabet's, as in
    a safetensors file, it is put right for numbers (2 before 10), but for words it cannot be: where two
    layers have the same shapes, then name them, and let `parity` prove it.

    Args:
      net: the network.
      params: its parameters, which say shapes and dtypes.
      state: the same for its state.
      tensors: arrays by name, as in a `state_dict`; no pickled file is read here.
      names: our path -> their module, such as ``{"block/conv_1": "features.0"}``; a layer of a recurrent
        stack is ``lstm.l1_reverse``.
      ignore: patterns of names that are not used (`fnmatch`), such as ``lm_head.*`` where it is tied.
      flattened: path -> (H, W, C) for a linear layer whose input is a flattened image: torch flattens
        it channels first, so that the rows of its weight are in another order.

    Raises:
      ValueError: the weights are those of another network: the message lists what is missing, extra, or
        of another shape; or `flattened` names no layer. Nothing is loaded then.
      TypeError: a layer has no counterpart in torch.
    """
    images = _images(flattened, net, params, state)
    return load(_layout(images), net, params, state, tensors, names, ignore)


def to_torch(
    net: Layer,
    params: PyTree,
    state: PyTree,
    *,
    names: Mapping[str, str] | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, np.ndarray]:
    """The network's weights by torch's names and in its shapes, for ``module.load_state_dict``.

        tensors = to_torch(net, params, state, names=imported.taken)
        module.load_state_dict({name: torch.tensor(a) for name, a in tensors.items()}, strict=False)

    Where torch has two parameters for one of ours, the second is 0: `bias_hh` of LSTM and RNN, that of
    the GRU's gates, the bias of an attention's key. Modules are called after our paths, with dots, or as
    `names` says; `num_batches_tracked` is not among them.

    Raises:
      ValueError: a name is no layer's, two are one, or a weight has no counterpart.
      TypeError: a layer has no counterpart in torch.
    """
    return save(_layout(_images(flattened, net, params, state)), net, params, state, names)


def _images(
    flattened: Mapping[str, Sequence[int]] | None, net: Layer, params: PyTree, state: PyTree
) -> Mapping[str, Sequence[int]]:
    """What was given, all of which must be paths of layers with weights.

    Raises:
      ValueError: one is not.
    """
    there = sorted(place.path for place in places(net, params, state))
    for path in flattened or {}:
        if path not in there:
            raise ValueError(f"flattened: {path!r} is no layer with weights; there are {there}")
    return flattened or {}


def _layout(flattened: Mapping[str, Sequence[int]]) -> Layout:
    def theirs(place: Place) -> Module:
        module = _theirs(place)
        if place.path in flattened:
            module["weight"] = _channels_first(place, module["weight"], flattened[place.path])
        return module

    def ours(place: Place, module: Module) -> tuple[PyTree, PyTree]:
        if place.path in flattened:
            weight = _channels_last(module["weight"], flattened[place.path])
            module = {**module, "weight": weight}
        return _ours(place, module)

    return Layout("torch", theirs, ours, _modules, _join, _called, ("*num_batches_tracked",))


def _theirs(place: Place) -> Module:
    params, state = place.params, place.state
    if isinstance(params, LinearParams):
        return _present(weight=None if params.w is None else array(params.w).T, bias=params.b)
    if isinstance(params, BiasParams):
        return _present(bias=params.b)
    if isinstance(params, ConvolutionParams):
        return _present(weight=_kernel_to_torch(place), bias=params.b)
    if isinstance(params, NormParams):
        statistics = {}
        if isinstance(state, BatchNormState):
            statistics = {"running_mean": array(state.mean), "running_var": array(state.var)}
        elif jax.tree.leaves(state):
            raise TypeError(
                f"{place}: torch has no statistics over all elements seen; give batch_norm a momentum"
            )
        return _present(weight=params.scale, bias=params.bias) | statistics
    if isinstance(params, EmbeddingParams | LearnedPositionsParams):
        return _present(weight=params.table)
    if isinstance(params, PReluParams):
        return {"weight": array(params.slope).reshape(-1)}
    if isinstance(params, MultiHeadAttentionParams):
        return attention_to_torch(place)
    for kind, rules in RECURRENT.items():
        if isinstance(params, kind):
            return rules.theirs(place)
    raise TypeError(f"{place}: expected a layer that torch has, got {type(params).__name__}")


def _ours(place: Place, module: Module) -> tuple[PyTree, PyTree]:
    params, state = place.params, place.state
    weight: Any = module.get("weight")
    bias: Any = module.get("bias")
    if isinstance(params, LinearParams):
        turned: Any = None if weight is None else weight.T
        return LinearParams(turned, bias), state
    if isinstance(params, BiasParams):
        return BiasParams(bias), state
    if isinstance(params, ConvolutionParams):
        return ConvolutionParams(_kernel_from_torch(place, weight), bias), state
    if isinstance(params, NormParams):
        if isinstance(state, BatchNormState):
            state = BatchNormState(module["running_mean"], module["running_var"])
        return NormParams(weight, bias), state
    if isinstance(params, EmbeddingParams | LearnedPositionsParams):
        return type(params)(weight), state
    if isinstance(params, PReluParams):
        return PReluParams(weight.reshape(np.shape(params.slope))), state
    if isinstance(params, MultiHeadAttentionParams):
        return attention_from_torch(place, module), state
    return RECURRENT[type(params)].ours(place, module), state


def _kernel_to_torch(place: Place) -> np.ndarray:
    """(h, w, C / g, F) -> (F, C / g, h, w); of a transposed convolution, to (C, F / g, h, w)."""
    w = array(place.params.w)
    window = tuple(range(w.ndim - 2))
    if not is_transposed(place):
        return w.transpose(w.ndim - 1, w.ndim - 2, *window)
    groups = groups_of_transposed(place)
    *sizes, inputs, features = w.shape
    parts = w.reshape(*sizes, inputs, groups, features // groups)
    last = parts.ndim - 1
    parts = parts.transpose(last - 1, last - 2, last, *window)
    return parts.reshape(groups * inputs, features // groups, *sizes)


def _kernel_from_torch(place: Place, weight: Any) -> Any:
    window = tuple(range(2, weight.ndim))
    if not is_transposed(place):
        return weight.transpose(*window, 1, 0)
    *sizes, inputs, features = place.params.w.shape
    groups = weight.shape[0] // inputs
    parts = weight.reshape(groups, inputs, features // groups, *sizes)
    axes = tuple(range(3, parts.ndim))
    return parts.transpose(*axes, 1, 0, 2).reshape(*sizes, inputs, features)


def _channels_first(place: Place, weight: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(F, H W C) -> (F, C H W)."""
    *sizes, channels = shape
    if not isinstance(place.params, LinearParams) or weight.shape[1] != np.prod(shape):
        raise ValueError(
            f"{place}: expected a linear layer whose input is a flattened image of {tuple(shape)}, got "
            f"a weight of torch's shape {weight.shape}"
        )
    images = weight.reshape(-1, *sizes, channels)
    return np.moveaxis(images, -1, 1).reshape(weight.shape)


def _channels_last(weight: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(F, C H W) -> (F, H W C)."""
    *sizes, channels = shape
    images = weight.reshape(-1, channels, *sizes)
    return np.moveaxis(images, 1, -1).reshape(weight.shape)


def _present(**values: Any) -> Module:
    return {name: array(value) for name, value in values.items() if value is not None}


def _modules(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    known, found = set(names), {}
    for name in natural(names):
        stem, _, last = name.rpartition(".")
        outer = stem.rpartition(".")[0]
        proper = f"{outer}." if outer else ""
        match = _RECURRENT_NAME.fullmatch(name)
        if match:
            parts = filter(None, (match[1], match[3]))
            found[name] = ".".join(parts), match[2]
        elif stem.rpartition(".")[2] == "out_proj" and (
            f"{proper}in_proj_weight" in known or f"{proper}q_proj_weight" in known
        ):
            found[name] = outer, f"out_proj.{last}"
        else:
            found[name] = stem, last
    return found


def _join(module: str, within: str) -> str:
    level = re.fullmatch(r"(?:(.*)\.)?(l\d+(?:_reverse)?)", module)
    if level and re.fullmatch(r"(?:weight|bias)_(?:ih|hh)", within):
        return ".".join(filter(None, (level[1], f"{within}_{level[2]}")))
    return f"{module}.{within}" if module else within


def _called(place: Place) -> str:
    """Our path with dots; the first of a stack, where torch numbers the layers of one."""
    path = re.sub(r"\[(\d+)\]", r".\1", place.path).replace("/", ".")
    stacked = isinstance(place.params, tuple(RECURRENT)) and "_cell(" not in place.layer.name
    return ".".join(filter(None, (path, "l0"))) if stacked else path
