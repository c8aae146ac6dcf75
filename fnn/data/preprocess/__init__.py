"""Preprocessing that is fitted on the training part and then applied, unchanged, to everything.

What is fitted is a value: a small named tuple of arrays with ``apply(x)`` and, where there is one,
``invert(x)``, for NumPy arrays and for jax arrays inside of `jit`. It can be saved with the network and
applied again to the images it will classify one day.
"""

from fnn.data.preprocess.centre import Centre, ChannelCentre, centred, channel_mean, mean_image
from fnn.data.preprocess.composed import Composed, compose, fit, preprocessed
from fnn.data.preprocess.contrast import GlobalContrast, global_contrast
from fnn.data.preprocess.fitted import Fitted
from fnn.data.preprocess.standardize import Standard, standardize, standardize_channels
from fnn.data.preprocess.whiten import Pca, Zca, pca, zca

__all__ = [
    "Centre",
    "ChannelCentre",
    "Composed",
    "Fitted",
    "GlobalContrast",
    "Pca",
    "Standard",
    "Zca",
    "centred",
    "channel_mean",
    "compose",
    "fit",
    "global_contrast",
    "mean_image",
    "pca",
    "preprocessed",
    "standardize",
    "standardize_channels",
    "zca",
]
