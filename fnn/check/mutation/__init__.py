"""The checker measured: faults planted into any backward pass, and those that it does not find."""

from fnn.check.mutation.mutants import Mutant as Mutant
from fnn.check.mutation.report import Finding as Finding
from fnn.check.mutation.report import MutationReport as MutationReport
from fnn.check.mutation.score import mutation_score as mutation_score
from fnn.check.mutation.score import mutation_score_of_loss as mutation_score_of_loss
from fnn.check.mutation.score import score as score
