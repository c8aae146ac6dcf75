"""Preprocessing that is fitted on the training part and then applied, unchanged, to everything.

What is fitted is a value: a small named tuple of arrays with ``apply(x)`` and, where there is one,
``invert(x)``, for NumPy arrays and for jax arrays inside of `jit`. It can be saved with the network and
applied again to the images it will classify one day.
"""

from fnn.data.preprocess.centre import Centre as Centre
from fnn.data.preprocess.centre import ChannelCentre as ChannelCentre
from fnn.data.preprocess.centre import centred as centred
from fnn.data.preprocess.centre import channel_mean as channel_mean
from fnn.data.preprocess.centre import mean_image as mean_image
from fnn.data.preprocess.composed import Composed as Composed
from fnn.data.preprocess.composed import compose as compose
from fnn.data.preprocess.composed import fit as fit
from fnn.data.preprocess.composed import preprocessed as preprocessed
from fnn.data.preprocess.contrast import GlobalContrast as GlobalContrast
from fnn.data.preprocess.contrast import global_contrast as global_contrast
from fnn.data.preprocess.fitted import Fitted as Fitted
from fnn.data.preprocess.standardize import Standard as Standard
from fnn.data.preprocess.standardize import standardize as standardize
from fnn.data.preprocess.standardize import standardize_channels as standardize_channels
from fnn.data.preprocess.whiten import Pca as Pca
from fnn.data.preprocess.whiten import Zca as Zca
from fnn.data.preprocess.whiten import pca as pca
from fnn.data.preprocess.whiten import zca as zca
