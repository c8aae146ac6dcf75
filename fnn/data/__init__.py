"""Data sets as NumPy arrays on the host: read, checked, split and preprocessed.

A `Dataset` has images in float32, in [0, 1], of shape (N, H, W, C), and labels in int32 of shape (N,);
readers of files give what the file holds. Of devices know only `pipeline`, which brings batches to one,
and `preprocess`, whose fitted values apply to arrays on one, too.
"""

from fnn.data.arrays import read_npy, read_npz
from fnn.data.cifar import Records, read_cifar, read_cifar10, read_cifar10_jpeg
from fnn.data.decode import decode_image
from fnn.data.download import DownloadError
from fnn.data.examples import Dataset, Examples, validate
from fnn.data.folds import Fold, group_k_fold, k_fold, time_folds
from fnn.data.idx import read_idx
from fnn.data.images import Images, read_images
from fnn.data.leakage import Finding, Leakage, leakage
from fnn.data.pipeline import Pipeline, pipeline
from fnn.data.preprocess import Centre, centred, mean_image
from fnn.data.sources import NAMES, Name, load
from fnn.data.split import Split, ThreeWay, stratified_split, three_way_split
from fnn.data.table import Table, read_csv
from fnn.data.text import (
    TEXTS,
    TextParts,
    Vocabulary,
    Windows,
    load_text,
    read_lines,
    read_text,
    split_text,
    vocabulary,
    windows,
)

__all__ = [
    "NAMES",
    "TEXTS",
    "Centre",
    "Dataset",
    "DownloadError",
    "Examples",
    "Finding",
    "Fold",
    "Images",
    "Leakage",
    "Name",
    "Pipeline",
    "Records",
    "Split",
    "Table",
    "TextParts",
    "ThreeWay",
    "Vocabulary",
    "Windows",
    "centred",
    "decode_image",
    "group_k_fold",
    "k_fold",
    "leakage",
    "load",
    "load_text",
    "mean_image",
    "pipeline",
    "read_cifar",
    "read_cifar10",
    "read_cifar10_jpeg",
    "read_csv",
    "read_idx",
    "read_images",
    "read_lines",
    "read_npy",
    "read_npz",
    "read_text",
    "split_text",
    "stratified_split",
    "three_way_split",
    "time_folds",
    "validate",
    "vocabulary",
    "windows",
]
