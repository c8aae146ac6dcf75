"""torch's MultiheadAttention: one matrix for query, key and value, or three where the memory is wider.

The key's bias adds one number to all scores of a query, which cancels in the softmax: we have none, and
write zeros. Heads lie side by side in both.
"""

from typing import Any

import numpy as np

from fnn.exchange.layout import Module
from fnn.exchange.places import Place, array
from fnn.layers.attention_heads import MultiHeadAttentionParams


def attention_to_torch(place: Place) -> Module:
    """The module's arrays.

    Raises:
      TypeError: heads that share keys, or whose features are not as many as those of x.
    """
    params: MultiHeadAttentionParams = place.params
    query, key, value, out = (array(w) for w in params[:4])
    wide = query.shape[0]
    if query.shape[1] != wide or key.shape[1] != wide:
        raise TypeError(
            f"{place}: torch's attention has heads of {wide} features together, each with a key of its "
            f"own; got queries of {query.shape[1]} and keys of {key.shape[1]}"
        )
    if key.shape[0] == wide:
        module: Module = {"in_proj_weight": np.concatenate([query.T, key.T, value.T])}
    else:
        module = {"q_proj_weight": query.T, "k_proj_weight": key.T, "v_proj_weight": value.T}
    if params.b_query is not None:
        query_bias, value_bias = array(params.b_query), array(params.b_value)
        none = np.zeros_like(query_bias)
        module["in_proj_bias"] = np.concatenate([query_bias, none, value_bias])
    module["out_proj.weight"] = out.T
    if params.b_out is not None:
        module["out_proj.bias"] = array(params.b_out)
    return module


def attention_from_torch(place: Place, module: Module) -> MultiHeadAttentionParams:
    """Our parameters."""
    matrices: Any
    if "in_proj_weight" in module:
        matrices = np.split(module["in_proj_weight"], 3)
    else:
        matrices = [module[f"{name}_proj_weight"] for name in "qkv"]
    query_bias: Any = None
    value_bias: Any = None
    if "in_proj_bias" in module:
        query_bias, _, value_bias = np.split(module["in_proj_bias"], 3)
    return MultiHeadAttentionParams(
        matrices[0].T,
        matrices[1].T,
        matrices[2].T,
        module["out_proj.weight"].T,
        query_bias,
        value_bias,
        module.get("out_proj.bias"),
    )
