"""Whole networks, ready to train; each is a composition of the public layers."""

from fnn.models.autoencoder import autoencoder
from fnn.models.char_lstm import char_lstm, sample
from fnn.models.convnet import convnet
from fnn.models.gpt import gpt
from fnn.models.lenet import lenet
from fnn.models.linear_classifier import linear_classifier
from fnn.models.mlp import mlp
from fnn.models.resnet import resnet
from fnn.models.transformer import transformer_block
from fnn.models.vit import vit

__all__ = [
    "autoencoder",
    "char_lstm",
    "convnet",
    "gpt",
    "lenet",
    "linear_classifier",
    "mlp",
    "resnet",
    "sample",
    "transformer_block",
    "vit",
]
