"""The checker measured: faults planted into any backward pass, and those that it does not find."""

from fnn.check.mutation.mutants import Mutant
from fnn.check.mutation.report import Finding, MutationReport
from fnn.check.mutation.score import mutation_score, mutation_score_of_loss, score

__all__ = [
    "Finding",
    "Mutant",
    "MutationReport",
    "mutation_score",
    "mutation_score_of_loss",
    "score",
]
