"""What follows from what: a layer that is dead altogether stands before all that comes of it."""

from collections.abc import Callable, Sequence

from fnn.diagnostics.doctor.diagnosis import Verdict

# What a layer of zeros makes of what comes after it, and of gradients and training.
_AFTER = ("fading signal", "constant signal", "collapsed signal", "saturated units")
_TRAINING = ("vanishing gradient", "no gradient", "no rate works", "cannot overfit")


def ordered(
    found: Sequence[Verdict], first: int, layers: Callable[[], Sequence[str]]
) -> list[Verdict]:
    """The verdicts, the cause of others before them, and what follows from it with words that say so.

    Args:
      found: as they came.
      first: before which the cause may not stand: the number of verdicts on the data.
      layers: gives the paths of the leaf layers, in the order of calls; asked if there is a cause.
    """
    root = next((v for v in found if v.illness == "dead units" and v.value == 1), None)
    if root is None:
        return list(found)
    known = layers()
    place = known.index(root.path)
    rest = [_told(v, root, place, known) for v in found if v is not root]
    return [*rest[:first], root, *rest[first:]]


def _told(verdict: Verdict, root: Verdict, place: int, layers: Sequence[str]) -> Verdict:
    own = layers.index(verdict.path) if verdict.path in layers else None
    follows = verdict.illness in _TRAINING or (
        own is not None and verdict.illness in _AFTER and own >= place
    )
    if not follows:
        return verdict
    return verdict._replace(
        found=f"{verdict.found}; this follows from the dead units at {root.path}",
        advice=f"first mend the dead units at {root.path}",
    )
