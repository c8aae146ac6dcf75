"""Layers, one family a file; each with its forward and backward pass by hand."""

from fnn.layers.activation import relu as relu
from fnn.layers.activation import sigmoid as sigmoid
from fnn.layers.activation import softmax as softmax
from fnn.layers.activation import tanh as tanh
from fnn.layers.convolution import convolution as convolution
from fnn.layers.convolution import convolution_output_size as convolution_output_size
from fnn.layers.linear import linear as linear
from fnn.layers.noise import dropout as dropout
from fnn.layers.normalization import batch_norm as batch_norm
from fnn.layers.pooling import max_pool as max_pool
from fnn.layers.shapes import flatten as flatten
