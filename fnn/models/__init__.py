"""Whole networks, ready to train; each is a composition of the public layers."""

from fnn.models.autoencoder import autoencoder as autoencoder
from fnn.models.char_lstm import char_lstm as char_lstm
from fnn.models.char_lstm import sample as sample
from fnn.models.convnet import convnet as convnet
from fnn.models.gpt import gpt as gpt
from fnn.models.lenet import lenet as lenet
from fnn.models.linear_classifier import linear_classifier as linear_classifier
from fnn.models.mlp import mlp as mlp
from fnn.models.resnet import resnet as resnet
from fnn.models.transformer import transformer_block as transformer_block
from fnn.models.vit import vit as vit
