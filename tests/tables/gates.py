"""Gates: layers of several inputs, and choices among them."""

from .rows import LayerRow

LAYERS: dict[str, LayerRow] = {}
