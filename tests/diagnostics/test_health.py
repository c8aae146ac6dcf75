"""The health of small networks against sums over the arrays themselves, in NumPy and float64."""

import functools

import jax
import numpy as np
import pytest
from small_networks import CASES

from fnn.diagnostics.health import health
from fnn.diagnostics.statistics import EDGES
from fnn.tap import passages

FIELDS = ("finite", "mean", "squares", "low", "high", "zeros", "nonfinite")


def naive(*arrays):
    """The statistics of all numbers together, in float64."""
    values = np.concatenate([np.asarray(a, np.float64).reshape(-1) for a in arrays])
    return {
        "finite": values.size,
        "mean": values.mean(),
        "squares": ((values - values.mean()) ** 2).sum(),
        "low": values.min(),
        "high": values.max(),
        "zeros": (values == 0).sum(),
        "nonfinite": 0,
    }


def by_row(net, seen):
    """The passages with the steps in time of one layer together: path -> their list."""
    rows = {}
    for path, passage in seen.items():
        if path.startswith("time/"):  # the cell's steps are one layer, blocks are several
            path = f"time/cell/{path.split('/', 2)[2]}"
        rows.setdefault(path, []).append(passage)
    return rows


def floats(trees):
    return [a for a in jax.tree.leaves(trees) if np.issubdtype(a.dtype, np.floating)]


@functools.cache
def looked(name, dtype):
    """(rows, what passed by row) of a case: compiled once for all tests."""
    case = CASES[name]
    with jax.enable_x64(dtype == np.float64):
        arguments = case.started(dtype)
        rows = health(case.net, case.loss)(*arguments).rows
        seen = passages(case.net, case.loss, *arguments)
    return rows, by_row(case.net, seen)


def close(found, expected, tolerance, scale=0.0):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


QUICK = ("mlp", "repeated")
EVERY = [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES]
NARROW = [pytest.param(n, np.float32, marks=pytest.mark.slow) for n in CASES]
WIDE = [pytest.param(*each.values, np.float64, marks=each.marks) for each in EVERY]


@pytest.mark.parametrize(("name", "dtype"), [*NARROW, *WIDE])
def test_every_number_is_that_of_the_arrays(name, dtype):
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    found, seen = looked(name, dtype)
    rows = {row.path: row for row in found}
    assert list(rows) == list(seen)
    for path, passed in seen.items():
        row = rows[path]
        for found_of, trees in ((row.y, [p.y for p in passed]), (row.dy, [p.dy for p in passed])):
            expected = naive(*floats(trees))
            size = max(abs(expected["low"]), abs(expected["high"]))
            for field in FIELDS:
                scale = size**2 * expected["finite"] if field == "squares" else size
                close(getattr(found_of, field), expected[field], tolerance, scale)
        gradients = {}
        for p in passed:
            for leaf_path, leaf in jax.tree_util.tree_flatten_with_path(p.dparams)[0]:
                leaf_name = jax.tree_util.keystr(leaf_path, simple=True, separator="/")
                gradients[leaf_name] = gradients.get(leaf_name, 0) + np.asarray(leaf, np.float64)
        assert set(gradients) == set(row.gradients)
        for leaf_name, gradient in gradients.items():
            expected = np.linalg.norm(gradient)
            close(row.gradients[leaf_name].norm, expected, 10 * tolerance, expected + 1e-2)


@pytest.mark.parametrize("name", EVERY)
def test_gains_ranks_and_units(name):
    found, seen = looked(name, np.float64)
    for row in found:
        x, y, dx, dy = (
            np.concatenate(
                [a.reshape(-1) for p in seen[row.path] for a in floats(getattr(p, field))]
            )
            for field in ("x", "y", "dx", "dy")
        )
        close(row.forward_gain, y.std() / x.std(), 1e-10)
        close(row.backward_gain, np.sqrt((dx**2).mean() / (dy**2).mean()), 1e-10)
        outputs = floats([p.y for p in seen[row.path]])
        if len(outputs) > len(seen[row.path]):
            assert row.active is None  # a tuple has no units
            continue
        rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in outputs])
        close(row.active, (rows != 0).mean(axis=0), 1e-12)
        centred = rows - rows.mean(axis=0)
        sigma = np.linalg.svd(centred, compute_uv=False)
        p = sigma[sigma > 1e-7 * sigma[0]] / sigma.sum()
        close(row.rank.effective, np.exp(-(p * np.log(p)).sum()), 1e-6)
        close(row.rank.stable, (sigma**2).sum() / sigma[0] ** 2, 1e-8)
        close(row.variation, np.linalg.norm(centred) / np.linalg.norm(rows), 1e-10)


@pytest.mark.parametrize(
    "name", ["mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("repeated", "recurrent"))]
)
def test_in_parts_it_is_the_same(name):
    """Seven examples by three, and what is left over: all as of one pass, the loss included."""
    case = CASES[name]
    with jax.enable_x64(True):
        arguments = case.started(np.float64)
        whole = health(case.net, case.loss)(*arguments)
        parts = health(case.net, case.loss, batch_size=3)(*arguments)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        close(a, b, 1e-9, 1e-3)


def test_the_histogram_counts_by_its_edges():
    found, seen = looked("mlp", np.float64)
    for row in found:
        (passage,) = seen[row.path]
        for counts, values in ((row.y, passage.y), (row.dy, passage.dy)):
            expected, _ = np.histogram(values, np.concatenate([[-np.inf], EDGES, [np.inf]]))
            np.testing.assert_array_equal(counts.histogram, expected)


def test_weights_weigh_the_gradient():
    """An example of weight 0 is as though it were not there, to the loss and to every gradient."""
    case = CASES["mlp"]
    params, state, x, target = case.started()
    weights = np.asarray([1, 1, 0, 2, 1, 0, 1], np.float32)
    look = health(case.net, case.loss)
    found = look(params, state, x, target, None, weights)
    kept = weights > 0
    fewer = look(params, state, x[kept], target[kept], None, weights[kept])
    close(found.loss, fewer.loss, 1e-6)
    close(found.gradients.norm, fewer.gradients.norm, 1e-5)


def test_a_subset_is_looked_at_alone():
    case = CASES["mlp"]
    params, state, x, target = case.started()
    found = health(case.net, case.loss, subset=3)(params, state, x, target)
    same = health(case.net, case.loss)(params, state, x[:6:2], target[:6:2])
    assert found.examples == 3
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"subset": 0}, "subset of at least 1"),
        ({"histogram_sample": 0}, "histogram_sample >= 1"),
        ({"spectra": -1}, "spectra >= 0"),
    ],
)
def test_options_are_checked_when_it_is_built(options, message):
    with pytest.raises(ValueError, match=message):
        health(CASES["mlp"].net, CASES["mlp"].loss, **options)


def test_a_subset_of_more_than_there_are_is_refused():
    case = CASES["mlp"]
    with pytest.raises(ValueError, match="at most the 7 examples, got 8"):
        health(case.net, case.loss, subset=8)(*case.started())
