"""Embeddings and recurrent networks."""

import numpy as np

from fnn import layers

from .rows import LayerRow


def _ids(rng: np.random.Generator) -> np.ndarray:
    """Some ids twice, so that their contributions have to add, and some not at all."""
    return rng.integers(0, 4, (3, 4), np.int32)


LAYERS: dict[str, LayerRow] = {
    "embedding": LayerRow(lambda: layers.embedding(5, 2), _ids, takes_integers=True),
    "embedding with padding": LayerRow(
        lambda: layers.embedding(5, 2, padding=1), _ids, takes_integers=True
    ),
}
