"""Where a check looks besides the point it was given: inputs at which a backward may take another path.

Data drawn at random has no zeros, no ties and no constant rows, which is where the conventions of a
backward pass lie: relu'(0), which of two equal maxima takes the gradient, a variance of 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.jaxprs import equations, trace
from fnn.check.precision import dtype_of, exact, is_real
from fnn.check.remembered import by_shapes
from fnn.check.subject import Subject, Vector, point
from fnn.check.trial import Trial
from fnn.layer import PyTree


class Point(NamedTuple):
    """A subject at another point than its trial's, and what that point is called in a report."""

    name: str
    subject: Subject


def structured_points(trial: Trial) -> tuple[Point, ...]:
    """The trial's subject at x of zeros, of ones, with ties and with zeros among it; and params of zeros.

    Where the forward pass uses its key, or one among its arguments, there is a point with another key,
    and so with other draws: a mask that lets everything pass hides what is behind it.

    Ties are x rounded to multiples of its standard deviation, leaf by leaf. Only real leaves are
    changed at the others: labels, indices, state and key stay as they are.
    """
    subject = trial.subject
    rng = np.random.default_rng((trial.seed, 1))
    ties = _map_real(_ties, subject.x)
    # Whether an element becomes 0 is drawn, so that rows and columns are not 0 as a whole.
    sparse = _map_real(lambda a: np.where(rng.random(a.shape) < 0.5, 0.0, a), subject.x)
    candidates = [
        Point("x of zeros", subject._replace(x=_map_real(np.zeros_like, subject.x))),
        Point("x of ones", subject._replace(x=_map_real(np.ones_like, subject.x))),
        Point("x with ties", subject._replace(x=ties)),
    ]
    if not any((np.asarray(leaf) == 0).any() for leaf in jax.tree.leaves(ties) if is_real(leaf)):
        candidates.append(Point("x with zeros", subject._replace(x=sparse)))
    zero_params = subject._replace(params=_map_real(np.zeros_like, subject.params))
    candidates.append(Point("params of zeros", zero_params))
    found = [other for other in candidates if not _same(other.subject, subject)]
    if draws(subject.forward, *point(subject)):
        state, x = jax.tree.map(_another_key, (subject.state, subject.x))
        key = subject.key
        if key is not None:
            with exact():
                key = jax.random.fold_in(key, 1)
        found.append(Point("another key", subject._replace(state=state, x=x, key=key)))
    return tuple(found)


def scale_of(array: Vector) -> float:
    """The size of a leaf's usual element, and 1 for a leaf that is 0 or empty: the unit of a step."""
    size = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
    return size or 1.0


@by_shapes(1)
def draws(forward: Any, *arguments: PyTree) -> bool:
    """Whether a forward pass draws random numbers at arguments of these shapes."""
    with exact():
        program = trace(lambda *given: forward(*given)[0], *arguments)
    names = {equation.primitive.name for _, equation in equations(program)}
    return any(name.startswith(("random_", "threefry", "rng_")) for name in names)


def _another_key(leaf: Any) -> Any:
    """Other keys in place of keys; one of the older kind is an array of integers like any other."""
    if not jnp.issubdtype(dtype_of(leaf), jax.dtypes.prng_key) or leaf.size == 0:
        return leaf
    with exact():
        return jax.random.split(leaf.ravel()[0], leaf.shape)


def _ties(array: Vector) -> Vector:
    finite = array[np.isfinite(array)]
    unit = float(np.std(finite)) if finite.size else 0.0
    return unit * np.round(array / unit) if unit else array


def _map_real(function: Any, tree: PyTree) -> PyTree:
    """`function` of each real leaf as a NumPy array, back in float64 on the device."""
    with exact():
        return jax.tree.map(
            lambda leaf: (
                jnp.asarray(function(np.asarray(leaf)), jnp.float64) if is_real(leaf) else leaf
            ),
            tree,
        )


def _same(a: Subject, b: Subject) -> bool:
    """Whether all real leaves are equal: the point is then the trial's own."""
    return all(
        np.array_equal(left, right)
        for left, right in zip(
            jax.tree.leaves((a.params, a.x)), jax.tree.leaves((b.params, b.x)), strict=True
        )
        if is_real(left)
    )
