"""Attention, positions and transformer blocks."""

from collections.abc import Callable

import numpy as np

from fnn import layers
from fnn.layer import PyTree

from .rows import LayerRow


def _drawn(*shapes: tuple[int, ...], mask: np.ndarray | None = None) -> Callable[..., PyTree]:
    """Normal numbers of each shape, and a mask after them."""

    def draw(rng: np.random.Generator) -> PyTree:
        arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        return tuple(arrays if mask is None else [*arrays, mask])

    return draw


_NONE = np.array([0, 2], np.int32)  # the first example has no key at all
_SOME = np.array([[[1, 0, 1], [0, 0, 0], [1, 1, 1]], [[0, 0, 1], [1, 1, 0], [0, 1, 0]]], bool)

# For means of 1e4: float32 knows scores of 1e8 to the nearest 8, and weights are their exponentials.
_FAR = {"mean 1e4": "scores of 1e8, whose rounding is larger than what the weights depend on"}

LAYERS = {
    "attention of grouped queries, a mask": LayerRow(
        layers.attention, _drawn((2, 3, 2, 2), (2, 3, 1, 2), (2, 3, 1, 3), mask=_SOME), hard=_FAR
    ),
    "attention, causal, in blocks": LayerRow(
        lambda: layers.attention(causal=True, scores_at_once=6, scale=0.5),
        _drawn((2, 3, 1, 2), (2, 3, 1, 2), (2, 3, 1, 2)),
        hard=_FAR,
    ),
    "attention in blocks, lengths": LayerRow(
        lambda: layers.attention(scores_at_once=4),
        _drawn((2, 4, 1, 2), (2, 2, 1, 2), (2, 2, 1, 2), mask=_NONE),
        hard=_FAR,
    ),
    "multi_head_attention": LayerRow(
        lambda: layers.multi_head_attention(2, causal=True), (2, 3, 4), hard=_FAR
    ),
    "multi_head_attention, rotary": LayerRow(
        lambda: layers.multi_head_attention(
            2, kv_heads=1, head_features=2, rotary_base=10.0, bias=False
        ),
        _drawn((2, 3, 4), mask=_NONE),
        hard=_FAR,
    ),
    "multi_head_attention of a memory": LayerRow(
        lambda: layers.multi_head_attention(2, rotary_base=10.0, rotary_pairs="halves"),
        _drawn((2, 3, 4), (2, 2, 3), mask=_NONE),
    ),
    "sinusoidal_positions": LayerRow(layers.sinusoidal_positions, (2, 3, 5)),
    "learned_positions": LayerRow(lambda: layers.learned_positions(4), (2, 3, 2)),
    "rotary": LayerRow(lambda: layers.rotary(base=10.0), (2, 3, 2, 4)),
    "rotary, halves": LayerRow(lambda: layers.rotary(base=10.0, pairs="halves"), (2, 3, 2, 4)),
    "patches": LayerRow(lambda: layers.patches(2), (2, 4, 2, 2)),
    "class_token": LayerRow(layers.class_token, (3, 2, 3)),
    "token_at": LayerRow(lambda: layers.token_at(-1), (2, 3, 3), refuses_no_time=True),
    "mean_token": LayerRow(layers.mean_token, (2, 3, 3), refuses_no_time=True),
}
