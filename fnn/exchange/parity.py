"""Whether a network with weights from elsewhere computes what it computed there; if not, from where."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.layer import Layer, PyTree, map_layers

OUTPUT = "output"


class Difference(NamedTuple):
    """Two outputs of one layer."""

    path: str  # of the layer, or "output"
    layer: str  # its name
    shape: tuple[int, ...]
    absolute: (
        float  # the largest |ours - theirs|; NaN where one has a number that the other has not
    )
    relative: float  # that, divided by the largest |theirs|
    agrees: bool


class Parity(NamedTuple):
    """A row for every output that was compared, in the order in which the layers are called."""

    rows: tuple[Difference, ...]
    rtol: float

    @property
    def agrees(self) -> bool:
        """Whether all outputs are equal to within the tolerance."""
        return all(row.agrees for row in self.rows)

    @property
    def first(self) -> Difference | None:
        """The first output that is not; what lies before it is right."""
        return next((row for row in self.rows if not row.agrees), None)

    def __str__(self) -> str:
        lines = [
            f"{'ok' if row.agrees else 'DIFFERS':8}{row.path} ({row.layer}) {row.shape}: largest "
            f"difference {row.absolute:.3g}, relative {row.relative:.3g}"
            for row in self.rows
        ]
        if self.first is None:
            lines.append(f"all agree to {self.rtol:g} of the largest output")
        else:
            lines.append(f"the first that differs: {self.first.path} ({self.first.layer})")
        return "\n".join(lines)


def parity(
    net: Layer,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    expected_output: Any,
    intermediates: Mapping[str, Any] | None = None,
    *,
    rtol: float = 1e-4,
) -> Parity:
    """Compare `predict` with what the other implementation gave for the same x.

        theirs = module(torch.tensor(x)).numpy(); hidden = …         # there, in inference mode
        print(exchange.parity(net, params, state, x, theirs, {"hidden": hidden}))

    An output agrees where the largest absolute difference is at most `rtol` times the largest number of
    theirs; NaN and infinities agree with themselves alone.

    Args:
      net: the network.
      params: its parameters.
      state: its state.
      x: a batch of inputs, not zeros, which hide wrong weights; images are (N, H, W, C) here.
      expected_output: what the other one gave, (N, …).
      intermediates: path of a leaf layer -> what it gave there, in our order of axes. Of a layer that
        runs several times, the outputs of all its calls, stacked.
      rtol: the tolerance.

    Raises:
      ValueError: a path is no leaf layer that is called; two outputs differ in shape, are no single
        arrays, or hold no number; or the tolerance is none.
    """
    if not 0 <= rtol < float("inf"):
        raise ValueError(f"expected a finite tolerance rtol of at least 0, got {rtol}")
    outputs: dict[str, list[Any]] = {}
    called: dict[str, str] = {}

    def noted(path: str, leaf: Layer) -> Layer:
        called[path] = leaf.name

        def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
            y = leaf.predict(params, state, x)
            outputs.setdefault(path, []).append(y)
            return y

        return leaf._replace(predict=predict)

    if intermediates:
        # A loop would hand abstract values to the note.
        with jax.disable_jit():
            y = map_layers(noted, net).predict(params, state, x)
    else:
        y = net.predict(params, state, x)
    unknown = sorted(set(intermediates or {}) - outputs.keys())
    if unknown:
        raise ValueError(f"expected paths of layers, {sorted(outputs)}, got {unknown}")
    rows = []
    for path, seen in outputs.items():
        if path in (intermediates or {}):
            ours = seen[0] if len(seen) == 1 else np.stack([np.asarray(one) for one in seen])
            rows.append(_difference(path, called[path], ours, (intermediates or {})[path], rtol))
    rows.append(_difference(OUTPUT, net.name, y, expected_output, rtol))
    return Parity(tuple(rows), rtol)


def _difference(path: str, layer: str, ours: Any, theirs: Any, rtol: float) -> Difference:
    if not hasattr(ours, "shape"):
        raise ValueError(
            f"{path} ({layer}): expected an output of one array, got {type(ours).__name__}; compare "
            "networks that give one of its arrays each"
        )
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"{path} ({layer}): expected an output of our shape {ours.shape}, got {theirs.shape}; put "
            "channels last"
        )
    if not ours.size:
        raise ValueError(
            f"{path} ({layer}): expected numbers to compare, got an output of shape {ours.shape}, which "
            "proves nothing; give inputs"
        )
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(ours - theirs))
    absolute = float(distance.max(initial=0.0))
    finite = np.abs(theirs[np.isfinite(theirs)])
    largest = float(finite.max(initial=0.0))
    relative = absolute / largest if largest else (0.0 if absolute == 0 else float("inf"))
    return Difference(path, layer, ours.shape, absolute, relative, relative <= rtol)
