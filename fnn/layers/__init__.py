"""Layers, one family a file; each with its forward and backward pass by hand."""

from fnn.layers.activation import relu as relu
from fnn.layers.activation import sigmoid as sigmoid
from fnn.layers.activation import softmax as softmax
from fnn.layers.activation import tanh as tanh
from fnn.layers.attention import attention as attention
from fnn.layers.attention_heads import multi_head_attention as multi_head_attention
from fnn.layers.batch_norm import batch_norm as batch_norm
from fnn.layers.convolution import convolution as convolution
from fnn.layers.convolution import convolution_output_size as convolution_output_size
from fnn.layers.embedding import embedding as embedding
from fnn.layers.group_norm import group_norm as group_norm
from fnn.layers.group_norm import instance_norm as instance_norm
from fnn.layers.layer_norm import layer_norm as layer_norm
from fnn.layers.layer_norm import rms_norm as rms_norm
from fnn.layers.linear import linear as linear
from fnn.layers.noise import dropout as dropout
from fnn.layers.pooling import max_pool as max_pool
from fnn.layers.positions import learned_positions as learned_positions
from fnn.layers.positions import rotary as rotary
from fnn.layers.positions import sinusoidal_positions as sinusoidal_positions
from fnn.layers.shapes import flatten as flatten
