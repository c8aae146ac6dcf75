"""`fnn check`: one proof from a shell, for a gate in any project's own tests."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from fnn.check.networks import NetworkReport
from fnn.check.reports.report import Report
from fnn.check.testing import report_of
from fnn.cli.options import FILE, NAME, OFF, POSITIONAL, REPEATED, SPEC
from fnn.cli.subject import MisusedError, check_files, draw, load
from fnn.extras import require
from fnn.layer import Layer
from fnn.losses.loss import Loss


@dataclasses.dataclass(frozen=True)
class Check:
    """Prove a hand-written gradient: exit status 0 if it is right, 1 if wrong, 2 if it cannot be checked.

    The subject is a Layer, a Loss, a factory of one, or any function of arrays:

      fnn check "fnn.layers:linear(10)" --input f32[8,16]
      fnn check fnn.losses:softmax_cross_entropy --input f32[8,10] --target "i32[8]<10"
      fnn check package.net:build --input f32[8,16] --loss fnn.losses:squared_error --target f32[8]
      fnn check package.ops:fused --input f32[8,16] --input f32[16] --reference package.ops:plain

    SPEC is dtype[shape]: f32[8,16] draws normal numbers, f32[8]<1 uniform ones from 0 to 1, i32[8]<10
    integers from 0 to 9 (i32[8]: 0 or 1), bool[8] either; or the path of a .npy file.
    """

    name: ClassVar = "check"

    subject: Annotated[str, POSITIONAL, NAME]
    """What to check; name may be called with literals."""
    input: Annotated[tuple[str, ...], REPEATED, SPEC] = ()
    """An input; one for each argument of a function. A layer that gets several takes them as a tuple."""
    target: Annotated[str | None, SPEC] = None
    """The target of a loss."""
    loss: Annotated[str | None, NAME] = None
    """Check every layer of a network under this loss, and their whole."""
    reference: Annotated[str | None, NAME] = None
    """The plain function whose derivatives are the truth, for a function."""
    seed: int = 0
    """Of the inputs, the parameters and the probes."""
    json: Annotated[Path | None, FILE] = None
    """Write the report as JSON."""
    html: Annotated[Path | None, FILE] = None
    """Write the report as one HTML page."""
    tolerance: float | None = None
    """Of the relative error in reverse and forward mode, in place of the check's own."""
    as_given: Annotated[bool, OFF] = False
    """Check a function in the dtypes of its inputs: for kernels that compute in one dtype only."""
    quiet: Annotated[bool, OFF] = False
    """Print nothing unless the gradient is wrong."""
    traceback: Annotated[bool, OFF] = False
    """Where it cannot be checked, show the whole traceback."""

    def run(self) -> bool:
        """Check, write and print; whether the gradient is right."""
        check_files(json=self.json, html=self.html)
        report = self.report(load(self.subject))
        if self.json is not None:
            self.json.write_text(report.to_json() + "\n", "utf-8")
        if self.html is not None:
            self.html.write_text(report.to_html(), "utf-8")
        if not (self.quiet and report.ok):
            _show(report)
        return report.ok

    def report(self, subject: Any) -> Report | NetworkReport:
        """The check that fits the subject, with inputs as they were asked for."""
        if not self.input:
            raise MisusedError("expected at least one input, such as --input f32[8,16]")
        self._refuse_what_does_not_fit(subject)
        rng = np.random.default_rng(self.seed)
        inputs = [draw(spec, rng) for spec in self.input]
        target = () if self.target is None else (draw(self.target, rng),)
        options: dict[str, Any] = {"seed": self.seed}
        if self.tolerance is not None:
            options["tolerance"] = self.tolerance
        if isinstance(subject, Loss):
            return report_of(subject, inputs[0], *target, **options)
        if not isinstance(subject, Layer):
            if self.reference is not None:
                options["reference"] = load(self.reference)
            if self.as_given:
                options["dtype"] = "given"
            return report_of(subject, *inputs, **options)
        x = inputs[0] if len(inputs) == 1 else tuple(inputs)
        if self.loss is None:
            return report_of(subject, x, **options)
        loss = load(self.loss)
        if not isinstance(loss, Loss):
            raise MisusedError(f"expected a Loss under --loss, got {type(loss).__name__}")
        key = jax.random.key(self.seed)
        params, state = subject.init(key, jax.tree.map(jax.numpy.asarray, x))
        return report_of(subject, loss, x, *target, params=params, state=state, **options)

    def _refuse_what_does_not_fit(self, subject: Any) -> None:
        """An option that would go unheard is a mistake of whoever wrote it."""
        kind = next((k.__name__ for k in (Layer, Loss) if isinstance(subject, k)), "function")
        if kind == "function" and not callable(subject):
            raise MisusedError(
                f"expected a Layer, a Loss or a function, got {type(subject).__name__}: {subject!r:.80}"
            )
        wrong = {
            "--reference is for functions": kind != "function" and self.reference is not None,
            "--as-given is for functions": kind != "function" and self.as_given,
            "--loss is for networks": kind != "Layer" and self.loss is not None,
            "--target is for losses": kind == "function" and self.target is not None,
            "a loss takes one --input and a --target": kind == "Loss"
            and (len(self.input) != 1 or self.target is None),
            "a network under a loss takes --loss and --target": kind == "Layer"
            and (self.loss is None) != (self.target is None),
        }
        for rule, broken in wrong.items():
            if broken:
                raise MisusedError(f"{rule}; {self.subject} is a {kind}")


def _show(report: Report | NetworkReport) -> None:
    """The report in colour on a terminal with rich, plain anywhere else."""
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        require("rich", "cli").print(report)
    else:
        print(report)
