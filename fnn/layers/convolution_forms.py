"""The three linear maps of a convolution, in the form that was measured to be fastest for each shape.

`convolve` (x, w -> y), `input_gradient` (dy, w -> dx) and `kernel_gradient` (x, dy -> dw) are pure
functions; the second and the third are the transposes of the first. Shapes are written for images of two
axes; with one or three, H, W and h, w stand for these. The formula is one, the form depends on the
shape, and on the platform that the program is compiled for:

    window and groups               CPU                                      elsewhere
    1×1, no padding, one group      matrix products                          the same
    as many groups as channels      multiply-add, weight by weight           one convolution each
    some groups                     the dense forms, group by group          one convolution each
    one group (dense)               y: one convolution                       one convolution each
                                    dx: one; few inputs and strides apart
                                    dw: in chunks of a few images
    one group, three axes           as images of its layers                  one convolution each

On a mesh of several devices (see `partitioned`), CPUs as well do one convolution each; some groups go
group by group, and the dx of groups of one input and several features weight by weight. With the loops
over images, and with XLA's own grouped kernel, every device would gather the batch.

Comments in `convolution_cpu` give the measured ratios.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array
from fnn.layers import convolution_cpu as cpu
from fnn.layers import convolution_plain as plain
from fnn.layers import convolution_volumes as volumes
from fnn.layers.partitioned import partitioned
from fnn.layers.windows import Windows

# Jitted, so that a call outside of any `jit` compiles once a shape and not once a call.
_form = functools.partial(jax.jit, static_argnames=("windows", "groups"))


@_form
def convolve(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    """(N, H, W, C), (h, w, C / groups, F) -> (N, H', W', F): the forward pass without the bias."""
    if _pointwise(windows, groups):
        y = _product(_rows(_strided(x, windows)), _one_weight(w))
        return y.reshape(x.shape[0], *windows.output, w.shape[-1])
    if groups == 1 and len(windows.image) < 3:
        return plain.convolve(x, w, windows, groups)
    dense = _by_rank(windows, plain.convolve, volumes.convolve)
    alone = groups == x.shape[-1]
    form = _of_groups(dense, cpu.depthwise_convolve, groups, alone)
    on_mesh = _of_groups(plain.convolve, plain.convolve, groups, alone)
    return _by_platform(form, plain.convolve, on_mesh, x, w, windows, groups)


@_form
def input_gradient(dy: Array, w: Array, windows: Windows, groups: int) -> Array:
    """(N, H', W', F), (h, w, C / groups, F) -> (N, H, W, C): the transpose of `convolve` in x."""
    if _pointwise(windows, groups):
        dx = _product(_rows(dy), _one_weight(w).T)
        return _unstrided(dx.reshape(*dy.shape[:-1], w.shape[-2]), windows)
    dense = _by_rank(windows, cpu.dense_input_gradient, volumes.input_gradient)
    alone = w.shape[-2] == 1
    depthwise = cpu.depthwise_input_gradient
    form = _of_groups(dense, depthwise, groups, alone)
    one_each = plain.input_gradient if groups == dy.shape[-1] else depthwise
    on_mesh = _of_groups(plain.input_gradient, one_each, groups, alone)
    return _by_platform(form, plain.input_gradient, on_mesh, dy, w, windows, groups)


@_form
def kernel_gradient(x: Array, dy: Array, windows: Windows, groups: int) -> Array:
    """(N, H, W, C), (N, H', W', F) -> (h, w, C / groups, F): the transpose of `convolve` in w."""
    if _pointwise(windows, groups):
        dw = _product(_rows(_strided(x, windows)).T, _rows(dy))
        return dw.reshape(*windows.window, *dw.shape)
    dense = _by_rank(windows, cpu.dense_kernel_gradient, volumes.kernel_gradient)
    form = _of_groups(dense, cpu.depthwise_kernel_gradient, groups, groups == x.shape[-1])
    return _by_platform(form, plain.kernel_gradient, plain.kernel_gradient, x, dy, windows, groups)


def _by_rank(windows: Windows, of_images: cpu.Form, of_volumes: cpu.Form) -> cpu.Form:
    """The form for sequences and images, or for volumes."""
    return of_volumes if len(windows.image) == 3 else of_images


def _of_groups(dense: cpu.Form, depthwise: cpu.Form, groups: int, alone: bool) -> cpu.Form:
    """`alone`: every group has one input channel."""
    if groups == 1:
        return dense
    return depthwise if alone else cpu.by_group(dense)


def _by_platform(
    on_cpu: cpu.Form,
    elsewhere: cpu.Form,
    on_mesh: cpu.Form,
    a: Array,
    b: Array,
    windows: Windows,
    groups: int,
) -> Array:
    if partitioned():
        return on_mesh(a, b, windows, groups)
    return lax.platform_dependent(
        a,
        b,
        cpu=lambda a, b: on_cpu(a, b, windows, groups),
        default=lambda a, b: elsewhere(a, b, windows, groups),
    )


# 1×1: a matrix product over the pixels that the stride keeps. On 28×28×64: y 0.45, dx 0.5, dw 0.35 of
# the time of a convolution.


def _pointwise(windows: Windows, groups: int) -> bool:
    return max(windows.window) == 1 and not np.any(windows.padding) and groups == 1


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, preferred_element_type=accumulation_dtype(a.dtype)).astype(a.dtype)


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _one_weight(w: Array) -> Array:
    return w.reshape(w.shape[-2:])


def _strided(x: Array, windows: Windows) -> Array:
    return x[:, *(slice(None, None, s) for s in windows.stride)]


def _unstrided(dx: Array, windows: Windows) -> Array:
    """Zeros where the stride passed over a pixel."""
    axes = zip(windows.image, windows.output, windows.stride, strict=True)
    config = [(0, size - (outputs - 1) * stride - 1, stride - 1) for size, outputs, stride in axes]
    return lax.pad(dx, jnp.zeros((), dx.dtype), ((0, 0, 0), *config, (0, 0, 0)))
