"""Whole networks, ready to train; each is a composition of the public layers."""

from fnn.models.convnet import convnet as convnet
from fnn.models.gpt import gpt as gpt
from fnn.models.lenet import lenet as lenet
from fnn.models.mlp import mlp as mlp
from fnn.models.resnet import resnet as resnet
from fnn.models.transformer import transformer_block as transformer_block
from fnn.models.vit import vit as vit
