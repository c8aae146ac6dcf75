"""Every layer of a network, each at the input and the cotangent that it really receives.

A leaf is checked at the very point at which it trains (see `fnn.tap`), so what holds for made-up inputs
alone is not taken for a proof, and a fault in one leaf is not confused with one in its neighbours.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.check.battery import AT_SIZE, examine, structure_rows
from fnn.check.methods.reverse import reverse_mode
from fnn.check.precision import exact, widen
from fnn.check.reports.page import network_page
from fnn.check.reports.report import GradientError, Report, Row
from fnn.check.reports.text import drawn_by_rich, network_text
from fnn.check.subject import Subject
from fnn.check.subjects import loss_subject
from fnn.check.trial import attempt
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses.loss import Loss
from fnn.tap import passages

WHOLE = "(whole)"


class Entry(NamedTuple):
    """What was found for one leaf layer, for the loss, or for the network as a whole."""

    path: str
    kind: str  # the layer's name, such as linear(10)
    parameters: int
    report: Report


class NetworkReport(NamedTuple):
    """One entry for each leaf layer in order, one for the loss, one for the whole gradient."""

    entries: tuple[Entry, ...]

    @property
    def ok(self) -> bool:
        """Whether every report is."""
        return all(entry.report.ok for entry in self.entries)

    @property
    def worst(self) -> tuple[str, Row]:
        """(path of the layer, its row) for the worst row of all.

        What is wrong in the whole follows from what is wrong in a part, so a part comes first.
        """
        rows = [(entry.path, entry.report.worst) for entry in self.entries if entry.report.rows]
        return max(rows, key=lambda found: (not found[1].ok, found[0] != WHOLE, found[1].severity))

    def __str__(self) -> str:
        return network_text(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        return drawn_by_rich(console, network_text(self, options.max_width))

    def to_json(self) -> str:
        """Strict JSON with a schema's name in it: see `fnn.check.reports.encode`."""
        from fnn.check.reports.encode import network_to_json  # it needs the classes of this file

        return network_to_json(self)

    @staticmethod
    def from_json(text: str) -> "NetworkReport":
        """The report that `to_json` wrote.

        Raises:
          ValueError: the text is not JSON, or of another schema, or lacks a field.
        """
        from fnn.check.reports.encode import network_from_json

        return network_from_json(text)

    def to_html(self) -> str:
        """One page with everything in it, which loads nothing: see `fnn.check.reports.page`."""
        return network_page(self)

    def raise_if_wrong(self) -> None:
        """Raise `GradientError` with this report as its message, unless the report is ok."""
        if not self.ok:
            raise GradientError(str(self))


def network(
    net: Layer,
    loss: Loss,
    x: PyTree,
    target: Array,
    *,
    params: PyTree,
    state: PyTree,
    key: Key = None,
    seed: int = 0,
    tolerance: float = 1e-10,
    methods: Sequence[str] = AT_SIZE,
) -> NetworkReport:
    """Prove every leaf layer of `net` on this batch, then the loss, then the whole gradient.

    A leaf is checked by `methods` at the input, parameters, state, key and dy that it receives when
    the mean loss of this batch is differentiated, besides the usual probes. The whole network's
    dparams and dx are compared with `jax.vjp` of the mean loss. All in float64. The default methods are
    those whose cost grows as a gradient's; `METHODS` are all.
    """
    key = jax.random.key(seed) if key is None else key
    with exact():
        params64, state64, x64, target64 = widen((params, state, x, target))
        seen = passages(net, loss, params64, state64, x64, target64, key)
    entries = []
    for path, passage in seen.items():
        leaf = passage.layer
        subject = Subject(
            path or leaf.name,
            leaf.forward,
            leaf.backward,
            passage.params,
            passage.state,
            passage.x,
            passage.key,
        )
        report = _checked(subject, passage.dy, seed, tolerance, methods)
        entries.append(Entry(path or "(network)", leaf.name, _count(passage.params), report))
    whole = whole_subject(net, loss, params, state, x, target, key)
    trial = attempt(whole, seed=seed)
    of_loss = loss_subject(loss, trial.cache.prediction, target64)
    report = _checked(of_loss, None, seed, tolerance, methods)
    entries.append(Entry("(loss)", loss.name, 0, report))
    rows = (*structure_rows(whole, trial), *reverse_mode(trial, tolerance=tolerance))
    entries.append(Entry(WHOLE, net.name, _count(params), Report(net.name, rows, seed=seed)))
    return NetworkReport(tuple(entries))


def whole_subject(
    net: Layer, loss: Loss, params: PyTree, state: PyTree, x: PyTree, target: Array, key: Key
) -> Subject:
    """The network under its mean loss in a layer's form: the output is one number."""

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        prediction, _, cache = net.forward(params, state[0], x, key)
        losses, loss_cache = loss.forward(prediction, state[1])
        return losses.mean(), state, _WholeCache(cache, loss_cache, losses, prediction)

    def backward(params: PyTree, cache: _WholeCache, dy: PyTree) -> tuple[PyTree, PyTree]:
        dlosses = jnp.full_like(cache.losses, dy / cache.losses.size)
        return net.backward(params, cache.net, loss.backward(cache.loss, dlosses))

    return Subject(net.name, forward, backward, params, (state, target), x, key)


class _WholeCache(NamedTuple):
    """What the backward of the mean loss needs, and the prediction, at which the loss is checked."""

    net: PyTree
    loss: PyTree
    losses: Array
    prediction: PyTree


def _checked(
    subject: Subject, dy: PyTree | None, seed: int, tolerance: float, methods: Sequence[str]
) -> Report:
    trial = attempt(subject, seed=seed, dy=dy)
    found = examine(subject, trial, tolerance=tolerance, methods=methods)
    return Report(subject.name, *found, seed=seed)


def _count(params: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
