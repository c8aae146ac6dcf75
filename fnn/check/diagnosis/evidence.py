"""What a diagnosis is made from: both gradients on every probe, and all arrays that the pass sees."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.methods.references import pull_back_of
from fnn.check.precision import exact
from fnn.check.subject import Gradient, hand_leaves, real_leaves
from fnn.check.trial import Trial, run_backward
from fnn.layer import PyTree
from fnn.tree import paths

Array = np.ndarray[Any, Any]
PullBack = Callable[[PyTree], list[Array]]

FIT = 1e-8  # of the error that is to be explained
ROUNDING = 1e-13  # of the gradient itself
_LARGE = 300_000  # elements of a leaf
_FRESH = 2  # probes that no other method has used


class Evidence(NamedTuple):
    """Of one trial: everything that all of its leaves share."""

    trial: Trial
    dys: tuple[PyTree, ...]  # the trial's probes, and fresh ones
    dense: tuple[int, ...]  # those of them without a zero or an equality
    ones: int  # the one that is 1 everywhere
    pull_back: PullBack  # the right gradients of the real leaves for one more dy
    hand: Mapping[str, list[Array]]  # path -> one a probe, of the leaves that have the right shape
    true: Mapping[str, list[Array]]  # path -> one a probe
    atoms: Mapping[str, Array]  # what the pass sees besides dy: x, y, params, state, cache
    outputs: tuple[Array, ...]  # dy, one array (probes, …) for each leaf of y
    sizes: tuple[tuple[int, str], ...]  # n and what it is the size of


class Leaf(NamedTuple):
    """One leaf's two gradients on the probes, first axis; or on a selection of them."""

    evidence: Evidence
    path: str
    hand: Array  # (probes, …)
    true: Array  # (probes, …)
    dys: tuple[Array, ...]  # (probes, …) for each leaf of y

    @property
    def shape(self) -> tuple[int, ...]:
        """The leaf's own."""
        return self.hand.shape[1:]

    @property
    def error(self) -> float:
        """‖h − g‖."""
        return norm(self.hand - self.true)

    def explained_by(self, model: Array) -> bool:
        """Whether `model` is the gradient by hand, as the package's first page defines it."""
        residual, error = norm(model - self.hand), self.error
        if not np.isfinite(residual):
            return False
        tiny = residual <= ROUNDING * norm(self.hand) and residual <= 1e-4 * error
        return residual <= FIT * error or tiny


def norm(array: Array) -> float:
    """The Euclidean norm over all elements."""
    # Not `np.linalg.norm`: its dot product starts threads, which cost more than the sum.
    return float(np.sqrt(np.square(array).sum()))


def gather(trial: Trial) -> Evidence:
    """Run both passes on two fresh probes besides those of the trial, and collect what they see."""
    subject = trial.subject
    rng = np.random.default_rng([trial.seed, 0xD1A6])
    fresh = [
        jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), trial.y) for _ in range(_FRESH)
    ]
    dys = (*(probe.dy for probe in trial.probes), *fresh)
    names = [probe.name for probe in trial.probes]
    with exact():
        new = [
            Gradient(*run_backward(subject.backward, subject.params, trial.cache, dy))
            for dy in fresh
        ]
    hands = [hand_leaves(subject, gradient) for gradient in (*trial.hand, *new)]
    pull = pull_back_of(subject)
    trues = [pull(dy) for dy in dys]
    leaves = real_leaves(subject)
    hand = dict[str, list[Array]]()
    for i, (path, _) in enumerate(leaves):
        found = [leaf for leaves in hands if (leaf := leaves[i]) is not None]
        if len(found) == len(dys):
            hand[path] = found
    true = {path: [leaves[i] for leaves in trues] for i, (path, _) in enumerate(leaves)}
    return Evidence(
        trial,
        dys,
        (0, *range(len(names), len(dys))),
        names.index("ones"),
        pull,
        hand,
        true,
        _atoms(trial),
        tuple(
            np.stack([np.asarray(dy) for dy in leaf])
            for leaf in zip(*map(jax.tree.leaves, dys), strict=True)
        ),
        _sizes(trial),
    )


def leaf_of(evidence: Evidence, path: str, probes: Iterable[int] | None = None) -> Leaf:
    """The gradients of one leaf, on all probes or on some; of a large leaf on the dense ones."""
    if probes is None:
        large = evidence.true[path][0].size > _LARGE
        probes = evidence.dense if large else range(len(evidence.dys))
    which = list(probes)
    dys = tuple(dy[which] for dy in evidence.outputs)
    hand, true = (
        np.stack([gradients[path][i] for i in which])
        for gradients in (evidence.hand, evidence.true)
    )
    return Leaf(evidence, path, hand, true, dys)


def like(tree: PyTree, leaves: Iterable[Array]) -> PyTree:
    """The tree with other leaves."""
    return jax.tree.unflatten(jax.tree.structure(tree), list(leaves))


def _atoms(trial: Trial) -> dict[str, Array]:
    """Every array by name, each value once: what is in the cache and in x is called x."""
    subject, found = trial.subject, dict[str, Array]()
    trees = {
        "x": subject.x,
        "y": trial.y,
        "params": subject.params,
        "state": subject.state,
        "cache": trial.cache,
    }
    for root, tree in trees.items():
        for path, leaf in paths(tree):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                continue
            array = np.asarray(leaf)
            known = any(
                array.shape == other.shape and np.array_equal(array, other)
                for other in found.values()
            )
            if not known and array.size:
                found[f"{root}/{path}" if path else root] = array
    return found


def _sizes(trial: Trial) -> tuple[tuple[int, str], ...]:
    """The axes of x, y and the parameters, then the sizes of whole arrays; each number once."""
    named = dict[int, str]()
    trees = {"x": trial.subject.x, "y": trial.y, "params": trial.subject.params}
    leaves = [
        (f"{root}/{path}" if path else root, np.shape(leaf))
        for root, tree in trees.items()
        for path, leaf in paths(tree)
    ]
    for name, shape in leaves:
        for axis, n in enumerate(shape):
            if n > 1:
                named.setdefault(n, f"the size of {name}'s axis {axis}")
    for name, shape in leaves:
        n = int(np.prod(shape))
        if len(shape) > 1 and n > 1:
            named.setdefault(n, f"the number of elements of {name}")
        spatial = int(np.prod(shape[:-1]))
        if len(shape) > 2 and spatial > 1:
            named.setdefault(spatial, f"the size of {name} but for its last axis")
    return tuple(named.items())
