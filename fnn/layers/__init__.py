"""Layers, one family a file; each with its forward and backward pass by hand."""

from fnn.layers.activation import sigmoid, tanh
from fnn.layers.attention import attention
from fnn.layers.attention_heads import multi_head_attention
from fnn.layers.batch_norm import batch_norm
from fnn.layers.convolution import convolution
from fnn.layers.convolution_depthwise import depthwise_convolution, separable_convolution
from fnn.layers.convolution_size import conv_output_size
from fnn.layers.convolution_transposed import transposed_convolution
from fnn.layers.elementwise import add, multiply
from fnn.layers.embedding import embedding
from fnn.layers.gated import geglu, glu, swiglu
from fnn.layers.group_norm import group_norm, instance_norm
from fnn.layers.groupwise import max_over, sum_over, switch
from fnn.layers.hard import hard_sigmoid, hard_swish, hard_tanh
from fnn.layers.layer_norm import layer_norm, rms_norm
from fnn.layers.linear import bias, linear
from fnn.layers.maxout import maxout
from fnn.layers.noise import (
    alpha_dropout,
    dropout,
    gaussian_dropout,
    gaussian_noise,
    spatial_dropout,
)
from fnn.layers.noise_weights import dropconnect
from fnn.layers.pooling import max_pool
from fnn.layers.pooling_adaptive import adaptive_average_pool, adaptive_max_pool, global_max_pool
from fnn.layers.pooling_average import average_pool, global_average_pool, sum_pool
from fnn.layers.pooling_fractional import fractional_max_pool
from fnn.layers.positions import learned_positions, rotary, sinusoidal_positions
from fnn.layers.rectifiers import celu, elu, leaky_relu, prelu, relu, relu6, selu
from fnn.layers.recurrent_cell import HiddenCarry
from fnn.layers.recurrent_gru import gru, gru_cell
from fnn.layers.recurrent_lstm import LSTMCarry, lstm, lstm_cell
from fnn.layers.recurrent_rnn import rnn, rnn_cell
from fnn.layers.shapes import flatten, identity, reshape
from fnn.layers.smooth import gelu, mish, silu, softplus, softsign, squareplus
from fnn.layers.softmax import hardmax, log_softmax, softmax
from fnn.layers.tokens import class_token, mean_token, patches, token_at
from fnn.layers.weight_norm import spectral_norm, weight_norm

__all__ = [
    "HiddenCarry",
    "LSTMCarry",
    "adaptive_average_pool",
    "adaptive_max_pool",
    "add",
    "alpha_dropout",
    "attention",
    "average_pool",
    "batch_norm",
    "bias",
    "celu",
    "class_token",
    "conv_output_size",
    "convolution",
    "depthwise_convolution",
    "dropconnect",
    "dropout",
    "elu",
    "embedding",
    "flatten",
    "fractional_max_pool",
    "gaussian_dropout",
    "gaussian_noise",
    "geglu",
    "gelu",
    "global_average_pool",
    "global_max_pool",
    "glu",
    "group_norm",
    "gru",
    "gru_cell",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "hardmax",
    "identity",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "learned_positions",
    "linear",
    "log_softmax",
    "lstm",
    "lstm_cell",
    "max_over",
    "max_pool",
    "maxout",
    "mean_token",
    "mish",
    "multi_head_attention",
    "multiply",
    "patches",
    "prelu",
    "relu",
    "relu6",
    "reshape",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rotary",
    "selu",
    "separable_convolution",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "softmax",
    "softplus",
    "softsign",
    "spatial_dropout",
    "spectral_norm",
    "squareplus",
    "sum_over",
    "sum_pool",
    "swiglu",
    "switch",
    "tanh",
    "token_at",
    "transposed_convolution",
    "weight_norm",
]
