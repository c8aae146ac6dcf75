"""What is wrong by how the network is built: units alike, maps that are one, noise, statistics of few."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.doctor.diagnosis import Verdict, not_asked, ok, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.diagnostics.symmetry import Finding as Alike
from fnn.diagnostics.symmetry import symmetry as symmetry_lint
from fnn.layer import Array, Layer, PyTree
from fnn.tap import Passage
from fnn.tree import paths

# The largest share that noise may put to 0. Srivastava et al. (2014), figure 9: errors are flat while a
# half or a fifth is kept and rise where less than 0.3 is.
DROPPED = 0.7
# Batch statistics of fewer examples, or of fewer values, are noise. Wu, He (2018), figure 1: the error
# rises from batches of 8 on downwards, and doubles at 2.
FEWEST_EXAMPLES, FEWEST_VALUES = 4, 8
_LINEAR = 1e-3  # of f(u) + f(v) - f(u + v) - f(0), relative


def symmetry(patient: Patient) -> Verdict:
    """Whether units are alike and stay so: the lint of `fnn.diagnostics.symmetry` with the gradient.

    By what comes into them. That units are read alike is no illness of its own: pixels that are 0 in all
    examples are, by any layer that starts at 0.
    """
    report = symmetry_lint(patient.params, patient.start.grads)
    worst = [
        each
        for each in report.findings
        if each.side == "incoming" and each.verdict in ("stay alike", "no gradient")
    ]
    if not worst:
        return ok("symmetry", f"no two units stay alike in {report.kernels} kernels")
    first = _first(worst, patient)
    zero = first.value == 0
    return sick(
        "symmetry",
        "units alike",
        f"{first}".removeprefix(f"{first.path}: ")
        + (f"; and {len(worst) - 1} more" if len(worst) > 1 else ""),
        "start from random weights, such as initializers.he_normal"
        + ("; zeros are for biases and for a last layer" if zero else ""),
        path=first.path,
        value=float(first.units),
    )


def _first(worst: list[Alike], patient: Patient) -> Alike:
    """The one that comes first in a pass; the last layer, which may start at 0, only if it is alone."""
    order = [re.sub(r"\[\d+\]", "", path) for path in patient.seen]

    def place(each: Alike) -> int:
        own = each.path.partition(" + ")[0]
        return next((i for i, path in enumerate(order) if _within(own, path)), len(order))

    last = max((place(each) for each in worst), default=0)
    hidden = [each for each in worst if not (place(each) == last and each.value == 0)]
    first = min(hidden or worst, key=place)
    own = [leaf for path, leaf in paths(patient.params) if _within(path, first.path)]
    kernels = [leaf for leaf in own if leaf.ndim > 1]
    if kernels and all(bool((leaf == leaf.reshape(-1)[0]).all()) for leaf in kernels):
        # Where all are one number, labels that are rare in the batch tell some apart by their gradient.
        return first._replace(groups=(tuple(range(first.units)),))
    return first


def _within(path: str, layer: str) -> bool:
    return path == layer or path.startswith(f"{layer}/")


def batch_norm(patient: Patient) -> Verdict:
    """Whether batch norm has enough examples to take statistics of, at the batch size of training."""
    name = "batch norm"
    norms = {
        path: passage
        for path, passage in patient.seen.items()
        if passage.layer.name.startswith("batch_norm")
    }
    if not norms:
        return not_asked(name, "there is none")
    values = {path: int(np.prod(seen.x.shape[:-1])) for path, seen in norms.items()}
    path = min(values, key=lambda each: values[each])
    said = f"{values[path]} values a unit, of {patient.batch_size} examples"
    if patient.batch_size >= FEWEST_EXAMPLES and values[path] >= FEWEST_VALUES:
        return ok(name, said, float(values[path]))
    return sick(
        name,
        "batch norm over too few",
        f"{said}: the statistics are noise, and what it says of one example is "
        + ("0" if values[path] == 1 else "ruled by the others"),
        f"take a batch of {2 * FEWEST_EXAMPLES} or more, or group_norm or layer_norm, which look at one "
        "example at a time",
        path=path,
        value=float(values[path]),
    )


def noise(patient: Patient) -> Verdict:
    """How much of a signal noise layers put to 0 in the training pass that the inference pass has."""
    name = "dropout"
    shares: dict[str, float] = {}
    for path, seen in patient.seen.items():
        if seen.layer.name.startswith("dropout"):
            kept = np.asarray(seen.layer.predict(seen.params, seen.state, seen.x)) != 0
            dropped = kept & (np.asarray(seen.y) == 0)
            if kept.any():
                shares[path] = float(dropped.sum() / kept.sum())
    if not shares:
        return not_asked(name, "there is none")
    path = max(shares, key=lambda each: shares[each])
    said = f"{shares[path]:.0%} of what is not 0 is dropped"
    if shares[path] <= DROPPED:
        return ok(name, f"{said} at most", shares[path])
    return sick(
        name,
        "dropout too high",
        said,
        "drop a half at most, and a fifth of inputs; the rate is what is dropped, not what is kept",
        path=path,
        value=shares[path],
    )


def nonlinearity(patient: Patient) -> Verdict:
    """Whether two linear maps follow one another, that could be one with no more parameters.

    A kernel's output is followed through layers that are affine (by a test of f(u) + f(v) = f(u + v) +
    f(0) of their inference passes) to the next kernel. It must go nowhere else, so that a residual's
    body is not taken for it: the gradient that the second sends back is all that the first is told. Two
    maps with a bottleneck between them, as in an autoencoder or a depthwise separable convolution, have
    fewer parameters than their product, and are meant.
    """
    name = "nonlinearity"
    seen = [(path, each) for path, each in patient.seen.items() if _one_signal(each)]
    affine = _affine([each for _, each in seen])
    kernels = [affine[i] and _kernel(each) is not None for i, (_, each) in enumerate(seen)]
    before = {i: _producer(seen, i) for i in range(len(seen)) if affine[i]}
    count = 0
    for i, (path, second) in enumerate(seen):
        if not kernels[i]:
            continue
        count += 1
        j = before[i]
        while j is not None and affine[j] and not kernels[j]:
            j = before[j]
        if j is None or not affine[j]:
            continue
        first_path, first = seen[j]
        own, merged = _size(first) + _size(second), _merged(first, second)
        if own < merged:
            continue
        return sick(
            name,
            "missing nonlinearity",
            f"{first_path} ({first.layer.name}) and {path} ({second.layer.name}) are linear with nothing "
            f"else between: {own:,} parameters do what {merged:,} can",
            f"put an activation, such as relu(), after {first_path}, or leave one of the two out",
            path=path,
            value=float(own),
        )
    return ok(name, f"no two of {count} linear maps in a row could be one")


def _one_signal(seen: Passage) -> bool:
    return all(
        hasattr(each, "dtype") and jnp.issubdtype(each.dtype, jnp.floating) and each.ndim > 1
        for each in (seen.x, seen.y)
    )


def _kernel(seen: Passage) -> Array | None:
    """The layer's only weights, if it has a kernel at all."""
    found = [leaf for path, leaf in paths(seen.params) if path == "w" and leaf.ndim > 1]
    return found[0] if len(found) == 1 else None


def _affine(seen: list[Passage]) -> list[bool]:
    """Whether each layer's inference pass is affine, by one compiled test of all of them."""
    layers = [each.layer for each in seen]

    def test(layer: Layer, params: PyTree, state: PyTree, u: Array, v: Array) -> Array:
        fu, fv, both, none = (
            layer.predict(params, state, z) for z in (u, v, u + v, jnp.zeros_like(u))
        )
        scale = jnp.abs(fu).max() + jnp.abs(fv).max() + jnp.abs(none).max()
        return jnp.abs(fu + fv - both - none).max() <= _LINEAR * scale

    @jax.jit
    def tests(given: list[tuple[PyTree, PyTree, Array, Array]]) -> list[Array]:
        return [test(layer, *each) for layer, each in zip(layers, given, strict=True)]

    rng = np.random.default_rng(0)

    def drawn(x: Array) -> Array:  # wide enough for bounded activations to bend
        return jnp.asarray(rng.normal(0, 3, (min(2, len(x)), *x.shape[1:])), x.dtype)

    given = [(each.params, each.state, drawn(each.x), drawn(each.x)) for each in seen]
    return [bool(each) for each in tests(given)]


def _producer(seen: list[tuple[str, Passage]], i: int) -> int | None:
    """The layer whose output is this one's input and goes nowhere else, if it is one of these."""
    _, reader = seen[i]
    for j in range(i - 1, -1, -1):
        _, writer = seen[j]
        if writer.y.shape == reader.x.shape and np.array_equal(writer.y, reader.x):
            alone = reader.dx is not None and np.array_equal(writer.dy, reader.dx)
            return j if alone else None
    return None


def _size(seen: Passage) -> int:
    return int(np.prod(_shape(seen)))


def _shape(seen: Passage) -> tuple[int, ...]:
    kernel = _kernel(seen)
    return (0,) if kernel is None else tuple(kernel.shape)


def _merged(first: Passage, second: Passage) -> int:
    """The weights of one map in place of the two."""
    a, b = _shape(first), _shape(second)
    if len(a) == len(b) and second.x.ndim == first.y.ndim:
        window = [i + j - 1 for i, j in zip(a[:-2], b[:-2], strict=True)]
        return int(np.prod([*window, first.x.shape[-1], second.y.shape[-1]]))
    return int(np.prod(first.x.shape[1:]) * np.prod(second.y.shape[1:]))
