"""Whole networks, ready to train; each is a composition of the public layers."""

from fnn.models.convnet import convnet as convnet
from fnn.models.mlp import mlp as mlp
