"""`coverage`: what a check of one layer at one input leaves out of its backward pass, in one call."""

from fnn.check.branches.cover import cover
from fnn.check.reports.report import Branch
from fnn.check.subjects import trial_of
from fnn.layer import Key, Layer, PyTree


def coverage(
    layer: Layer,
    x: PyTree,
    *,
    params: PyTree | None = None,
    state: PyTree | None = None,
    key: Key = None,
    seed: int = 0,
    search: bool = True,
) -> tuple[Branch, ...]:
    """The branches of a layer's forward and backward pass that x and its structured points do not reach.

    The arguments are those of `check.layer`. With `search`, a branch names an input that reaches it,
    if one is found; without, none is looked for.
    """
    trial = trial_of(layer, x, params=params, state=state, key=key, seed=seed)
    return cover(trial, search=search).branches
