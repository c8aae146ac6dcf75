"""Data sets as NumPy arrays on the host: read, checked, split and preprocessed.

Images are float32 in [0, 1] of shape (N, H, W, C), labels int32 of shape (N,). Nothing here knows
of networks or devices.
"""

from fnn.data.download import DownloadError as DownloadError
from fnn.data.examples import Dataset as Dataset
from fnn.data.examples import Examples as Examples
from fnn.data.examples import validate as validate
from fnn.data.idx import read_idx as read_idx
from fnn.data.preprocess import Centre as Centre
from fnn.data.preprocess import centred as centred
from fnn.data.preprocess import mean_image as mean_image
from fnn.data.sources import NAMES as NAMES
from fnn.data.sources import Name as Name
from fnn.data.sources import load as load
from fnn.data.split import Split as Split
from fnn.data.split import stratified_split as stratified_split
