"""Convolutions, against autodiff of one `lax` convolution; on a small batch in the scan.

The last rows are of one result alone: the kernel's gradient, or the forward pass.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from experiments.cost_rows.row import CostRow, Problem
from fnn import layers
from fnn.layer import PyTree

Program = Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
ORDERS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}


def _plain(**options: Any) -> Callable[[PyTree, PyTree], PyTree]:
    """What an expert writes; `options` as those of the layer."""

    def run(params: PyTree, x: PyTree) -> PyTree:
        axes = x.ndim - 2

        def each(value: Any) -> Any:
            return (value,) * axes if isinstance(value, int) else value

        y = lax.conv_general_dilated(
            x,
            params.w,
            each(options.get("stride", 1)),
            options.get("padding", "SAME"),
            rhs_dilation=each(options.get("dilation", 1)),
            dimension_numbers=ORDERS[x.ndim],
            feature_group_count=options.get("groups", 1),
        )
        return _with(params.b, y)

    return run


def _with(b: jax.Array | None, y: jax.Array) -> jax.Array:
    return y if b is None else y + jnp.broadcast_to(b, y.shape)


def _row(shape: tuple[int, ...], *arguments: Any, **options: Any) -> CostRow:
    return CostRow(
        layers.convolution(*arguments, **options),
        shape,
        (2, *[8] * (len(shape) - 2), shape[-1]),
        plain=_plain(**options),
        batch_in_scan=8,
    )


def _depthwise(params: PyTree, x: PyTree) -> PyTree:
    return _plain(groups=x.shape[-1])(params, x)


def _separable(params: PyTree, x: PyTree) -> PyTree:
    return _plain()(params["pointwise"], _depthwise(params["depthwise"], x))


def _transposed(stride: int) -> Callable[[PyTree, PyTree], PyTree]:
    def run(params: PyTree, x: PyTree) -> PyTree:
        w = jnp.flip(params.w, range(x.ndim - 2))  # lax turns it
        y = lax.conv_transpose(
            x, w, (stride,) * (x.ndim - 2), "SAME", dimension_numbers=ORDERS[x.ndim]
        )
        return _with(params.b, y)

    return run


@dataclasses.dataclass(frozen=True)
class PartRow:
    """One result of a row, outside of a loop; XLA leaves out what only the others need.

    In the scan it is the whole row: a part that does not depend on the loop would be moved out of it.
    """

    whole: CostRow
    part: Callable[[PyTree, PyTree], PyTree]  # of y and (dparams, dx)
    reason: str = ""

    def problem(self, size: str, dtype: Any, *, in_scan: bool) -> Problem:
        """The whole row's problem, or its part."""
        problem = self.whole.problem(size, dtype, in_scan=in_scan)
        if in_scan:
            return problem

        def only(program: Program) -> Program:
            return lambda moving, fixed: (self.part(*program(moving, fixed)), ())

        return problem._replace(hand=only(problem.hand), auto=only(problem.auto))


def _forward(y: PyTree, gradients: PyTree) -> PyTree:
    del gradients
    return y


def _kernel(y: PyTree, gradients: PyTree) -> PyTree:
    del y
    return gradients[0].w


WHOLE = {
    "convolution 3x3, 1 -> 32": _row((128, 28, 28, 1), 32, 3),
    "convolution 3x3, 16 -> 16": _row((128, 28, 28, 16), 16, 3),
    "convolution 3x3, 32 -> 32": _row((128, 28, 28, 32), 32, 3),
    "convolution 3x3, 32 -> 64": _row((128, 14, 14, 32), 64, 3),
    "convolution 3x3, 64 -> 64": _row((128, 14, 14, 64), 64, 3),
    "convolution 3x3 stride 2": _row((128, 28, 28, 32), 64, 3, stride=2),
    "convolution 3x3 dilated": _row((128, 28, 28, 32), 32, 3, dilation=2),
    "convolution 1x1": _row((128, 28, 28, 64), 64, 1),
    "convolution depthwise": _row((128, 28, 28, 64), 64, 3, groups=64),
    "convolution 4 groups": _row((128, 28, 28, 32), 32, 3, groups=4),
    "convolution of sequences": _row((128, 256, 64), 64, 5),
    "convolution of volumes": _row((16, 12, 12, 12, 16), 32, 3),
    "depthwise_convolution": CostRow(
        layers.depthwise_convolution(3), (128, 28, 28, 64), (2, 8, 8, 64), _depthwise, 8
    ),
    "separable_convolution": CostRow(
        layers.separable_convolution(64, 3), (128, 28, 28, 64), (2, 8, 8, 64), _separable, 8
    ),
    "transposed_convolution stride 2": CostRow(
        layers.transposed_convolution(32, 4, stride=2),
        (128, 14, 14, 32),
        (2, 8, 8, 32),
        _transposed(2),
        8,
    ),
}
PARTS = {
    "kernel gradient, 3x3, 32 -> 32": PartRow(WHOLE["convolution 3x3, 32 -> 32"], _kernel),
    "kernel gradient, 3x3, 32 -> 64": PartRow(WHOLE["convolution 3x3, 32 -> 64"], _kernel),
    "kernel gradient, 3x3, 64 -> 64": PartRow(WHOLE["convolution 3x3, 64 -> 64"], _kernel),
    "kernel gradient, 3x3 stride 2": PartRow(WHOLE["convolution 3x3 stride 2"], _kernel),
    "forward, 1x1": PartRow(_row((128, 28, 28, 64), 64, 1, bias=False), _forward),
    "forward, depthwise": PartRow(WHOLE["depthwise_convolution"], _forward),
}
ROWS = WHOLE | PARTS
