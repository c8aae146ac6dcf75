"""`fnn mutation`: how many of the faults planted into a backward pass the checker finds."""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from fnn.check.mutation import MutationReport, mutation_score, mutation_score_of_loss
from fnn.check.reports.report import GradientError
from fnn.cli.options import NAME, OFF, POSITIONAL, REPEATED, SPEC
from fnn.cli.subject import MisusedError, draw, load
from fnn.layer import Layer
from fnn.losses.loss import Loss


@dataclasses.dataclass(frozen=True)
class Mutation:
    """Plant faults into a backward pass: exit status 0 if all are found, 1 if not, 2 if it cannot be.

      fnn mutation "fnn.layers:linear(10)" --input f32[8,16]
      fnn mutation fnn.losses:softmax_cross_entropy --input f32[8,10] --target "i32[8]<10"

    The backward pass is changed one equation at a time, and each change is checked as `fnn check` does. A
    backward that is wrong as it stands gives 1 as well. What SPEC is: see `fnn check --help`.
    """

    name: ClassVar = "mutation"

    subject: Annotated[str, POSITIONAL, NAME]
    """A Layer, a Loss, or a factory of one; name may be called with literals."""
    input: Annotated[tuple[str, ...], REPEATED, SPEC] = ()
    """An input. A layer that gets several takes them as a tuple."""
    target: Annotated[str | None, SPEC] = None
    """The target of a loss."""
    seed: int = 0
    """Of the inputs, the parameters and the probes."""
    quiet: Annotated[bool, OFF] = False
    """Print nothing unless a fault survives."""
    traceback: Annotated[bool, OFF] = False
    """Where it cannot be done, show the whole traceback."""

    def run(self) -> bool:
        """Plant, count and print; whether no fault survived."""
        try:
            report = self.report()
        except GradientError as error:
            print(error)
            return False
        if not (self.quiet and report.ok):
            print(report)
        return report.ok

    def report(self) -> MutationReport:
        """The mutation score of the subject."""
        rng = np.random.default_rng(self.seed)
        subject = load(self.subject)
        inputs = tuple(draw(spec, rng) for spec in self.input)
        if isinstance(subject, Layer) and inputs and self.target is None:
            x = inputs[0] if len(inputs) == 1 else inputs
            return mutation_score(subject, x, seed=self.seed)
        if isinstance(subject, Loss) and len(inputs) == 1 and self.target is not None:
            target = draw(self.target, rng)
            return mutation_score_of_loss(subject, inputs[0], target, seed=self.seed)
        raise MisusedError(
            "expected a Layer with --input, or a Loss with one --input and a --target, got "
            f"{type(subject).__name__} with {len(inputs)} --input and "
            f"{'a' if self.target else 'no'} --target"
        )
