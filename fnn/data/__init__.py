"""Data sets as NumPy arrays on the host: read, checked, split and preprocessed.

A `Dataset` has images in float32, in [0, 1], of shape (N, H, W, C), and labels in int32 of shape (N,);
readers of files give what the file holds. Of devices know only `pipeline`, which brings batches to one,
and `preprocess`, whose fitted values apply to arrays on one, too.
"""

from fnn.data.arrays import read_npy as read_npy
from fnn.data.arrays import read_npz as read_npz
from fnn.data.cifar import Records as Records
from fnn.data.cifar import read_cifar as read_cifar
from fnn.data.cifar import read_cifar10 as read_cifar10
from fnn.data.cifar import read_cifar10_jpeg as read_cifar10_jpeg
from fnn.data.decode import decode_image as decode_image
from fnn.data.download import DownloadError as DownloadError
from fnn.data.examples import Dataset as Dataset
from fnn.data.examples import Examples as Examples
from fnn.data.examples import validate as validate
from fnn.data.folds import Fold as Fold
from fnn.data.folds import group_k_fold as group_k_fold
from fnn.data.folds import k_fold as k_fold
from fnn.data.folds import time_folds as time_folds
from fnn.data.idx import read_idx as read_idx
from fnn.data.images import Images as Images
from fnn.data.images import read_images as read_images
from fnn.data.leakage import Finding as Finding
from fnn.data.leakage import Leakage as Leakage
from fnn.data.leakage import leakage as leakage
from fnn.data.pipeline import Pipeline as Pipeline
from fnn.data.pipeline import pipeline as pipeline
from fnn.data.preprocess import Centre as Centre
from fnn.data.preprocess import centred as centred
from fnn.data.preprocess import mean_image as mean_image
from fnn.data.sources import NAMES as NAMES
from fnn.data.sources import Name as Name
from fnn.data.sources import load as load
from fnn.data.split import Split as Split
from fnn.data.split import ThreeWay as ThreeWay
from fnn.data.split import stratified_split as stratified_split
from fnn.data.split import three_way_split as three_way_split
from fnn.data.table import Table as Table
from fnn.data.table import read_csv as read_csv
from fnn.data.text import TEXTS as TEXTS
from fnn.data.text import TextParts as TextParts
from fnn.data.text import Vocabulary as Vocabulary
from fnn.data.text import Windows as Windows
from fnn.data.text import load_text as load_text
from fnn.data.text import read_lines as read_lines
from fnn.data.text import read_text as read_text
from fnn.data.text import split_text as split_text
from fnn.data.text import vocabulary as vocabulary
from fnn.data.text import windows as windows
