"""The weights of a network's first layer as images: what each of its units looks for."""

import jax
import numpy as np

from fnn.layer import Layer, PyTree


def first_layer_filters(
    net: Layer, params: PyTree, input_shape: tuple[int, int, int]
) -> np.ndarray:
    """(K, H, W): the kernel of the first layer that has one, unit by unit.

    A convolution's kernel (h, w, C, F) gives C · F images of h × w. A dense kernel (D, F) on flattened
    images of `input_shape` (H, W, C), D = H · W · C, gives C · F images of H × W.

    Raises:
      ValueError: no layer has a kernel, or the first one is no map of such images.
    """
    kernel = _first_kernel(net, params)
    if kernel is None:
        raise ValueError("expected a layer with a kernel of two or more axes, found none")
    if kernel.ndim == 2 and kernel.shape[0] == np.prod(input_shape):
        kernel = kernel.reshape(*input_shape, -1)
    if kernel.ndim != 4:
        raise ValueError(
            f"expected a first kernel (h, w, C, F), or (D, F) with D = {np.prod(input_shape)} for "
            f"images of {input_shape}, got {kernel.shape}"
        )
    height, width, *_ = kernel.shape
    return kernel.transpose(3, 2, 0, 1).reshape(-1, height, width)


def _first_kernel(net: Layer, params: PyTree) -> np.ndarray | None:
    if not net.parts:
        kernels = [leaf for leaf in jax.tree.leaves(params) if np.ndim(leaf) >= 2]
        return np.asarray(kernels[0]) if kernels else None
    found = (_first_kernel(part, params[name]) for name, part in net.parts.items())
    return next((kernel for kernel in found if kernel is not None), None)
