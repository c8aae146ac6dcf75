"""Losses, one value an example; each with its backward pass by hand."""

from fnn.losses.cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from fnn.losses.loss import Loss as Loss
from fnn.losses.squared_error import squared_error as squared_error
