"""The hand-written backward against reverse mode: `jax.vjp` of the same forward pass.

The reference runs outside of `jit`, one operation at a time. An optimized program may compute one
value twice, rounded differently; the gradient of a maximum asks which element *equals* it, and
loses those that then differ in the last place. Under `jit` on a CPU in float64, max pooling behind a
batch norm so gets gradients that are wrong by more than their own size.
"""

from typing import NamedTuple

from fnn.check.compare import floor_of, norm, ratio
from fnn.check.methods.references import auto_gradients
from fnn.check.methods.rows import element_rows
from fnn.check.reports.report import Row
from fnn.check.subject import Vector, as_vector
from fnn.check.trial import Trial


class Reference(NamedTuple):
    """What reverse mode gives for a trial: it holds for any backward of the same forward pass."""

    gradients: tuple[list[Vector], ...]  # one a probe, one array a real leaf
    gain: float  # the largest factor by which a leaf answered a probe


def reference_of(trial: Trial) -> Reference:
    """`jax.vjp` on every probe of a trial."""
    gradients = auto_gradients(trial.subject, [probe.dy for probe in trial.probes])
    sizes = [norm(as_vector(probe.dy)) for probe in trial.probes]
    gain = max(
        (
            ratio(norm(leaf), size)
            for leaves, size in zip(gradients, sizes, strict=True)
            for leaf in leaves
            if size > 0
        ),
        default=0.0,
    )
    return Reference(tuple(gradients), gain)


def reverse_mode(
    trial: Trial, *, tolerance: float = 1e-10, reference: Reference | None = None
) -> tuple[Row, ...]:
    """Every element of every leaf's gradient, on every probe: one row a leaf, its worst probe.

    `reference` is that of `reference_of`, where it was computed before.
    """
    reference = reference_of(trial) if reference is None else reference
    floors = [floor_of(as_vector(probe.dy), reference.gain) for probe in trial.probes]
    return tuple(element_rows("reverse mode", trial, reference.gradients, floors, tolerance))
