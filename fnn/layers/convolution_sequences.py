"""Two of the linear maps of a dense convolution of sequences, by those of images, for a CPU.

A sequence is an image of one row. XLA:CPU takes it for one of one column, and its kernel, which reads
rows at a time, then reads single pixels. Ratios of time, as a row against as it is: 0.6 for 16 channels,
0.85 for 64. The kernel's gradient does the same, chunk by chunk, in `convolution_cpu`.
"""

from fnn.layer import Array
from fnn.layers import convolution_cpu as cpu
from fnn.layers import convolution_plain as plain
from fnn.layers.windows import Windows


def convolve(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    """`convolution_plain.convolve`."""
    return plain.convolve(x[:, None], w[None], cpu.as_row(windows), groups)[:, 0]


def input_gradient(dy: Array, w: Array, windows: Windows, groups: int) -> Array:
    """`convolution_plain.input_gradient`."""
    return cpu.dense_input_gradient(dy[:, None], w[None], cpu.as_row(windows), groups)[:, 0]
