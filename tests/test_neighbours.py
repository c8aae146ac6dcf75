"""K nearest neighbours against a loop over all pairs, scikit-learn, its ties, and its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import neighbours


def by_loops(examples, queries, k, norm):
    """Distances and indices in float64, ties to the lower index."""
    distance, index = [], []
    for q in np.asarray(queries, np.float64).reshape(len(queries), -1):
        d = np.asarray(examples, np.float64).reshape(len(examples), -1) - q
        d = np.abs(d).sum(axis=1) if norm == "l1" else np.sqrt((d * d).sum(axis=1))
        order = np.argsort(d, kind="stable")[:k]
        distance.append(d[order])
        index.append(order)
    return np.asarray(distance), np.asarray(index)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize(
    ("block", "query_block"), [(2048, 64), (7, 4), (50, 9), (1, 1)], ids=lambda v: str(v)
)
def test_the_nearest_of_a_loop(norm, block, query_block, rng):
    """Blocks that divide nothing, that are one row, and that hold all; k over a block of 1."""
    examples = rng.normal(size=(50, 3, 2)).astype(np.float32)
    queries = rng.normal(size=(9, 3, 2)).astype(np.float32)
    found = neighbours.nearest(
        examples, queries, 5, norm=norm, block=block, query_block=query_block
    )
    distance, index = by_loops(examples, queries, 5, norm)
    np.testing.assert_array_equal(found.row, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6)
    assert (found.distance.dtype, found.row.dtype) == (jnp.float32, jnp.int32)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_equal_distances_go_to_the_lower_index(norm):
    examples = np.asarray([[3.0], [1.0], [-1.0], [1.0], [0.0], [0.0]], np.float32)
    found = neighbours.nearest(examples, np.zeros((2, 1), np.float32), 5, norm=norm, block=2)
    np.testing.assert_array_equal(found.row, [[4, 5, 1, 2, 3]] * 2)


def test_distances_far_from_zero_are_those_of_the_differences(rng):
    """|q|² - 2 q x + |x|² has no digit left here; a library that stops there ranks by noise."""
    examples = (1000 + rng.normal(size=(200, 4))).astype(np.float32)
    examples[::2] += np.float32(1e5)  # so that no centre helps
    queries = examples[:20] + np.float32(0.01)
    found = neighbours.nearest(examples, queries, 3)
    distance, index = by_loops(examples, queries, 3, "l2")
    np.testing.assert_array_equal(found.row, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-5)


def test_more_duplicates_than_candidates():
    """The product cannot tell which of a hundred equal examples are the first three."""
    examples = np.concatenate([np.ones((100, 2)), np.zeros((100, 2))]).astype(np.float32)
    found = neighbours.nearest(examples, np.full((3, 2), 0.1, np.float32), 3)
    np.testing.assert_array_equal(found.row, [[100, 101, 102]] * 3)


def test_a_nan_and_an_infinity_are_seen():
    examples = np.asarray([[0.0], [1.0], [np.nan], [np.inf]], np.float32)
    for norm in neighbours.NORMS:
        found = neighbours.nearest(examples, np.zeros((1, 1), np.float32), 4, norm=norm)
        np.testing.assert_array_equal(found.row, [[2, 0, 1, 3]])
        np.testing.assert_array_equal(found.distance, [[np.nan, 0, 1, np.inf]])


def test_scikit_learn_finds_the_same(rng):
    """On real digits, where whole numbers make many distances equal: the distances are compared."""
    datasets = pytest.importorskip("sklearn.datasets")
    sklearn = pytest.importorskip("sklearn.neighbors")
    x = datasets.load_digits().data.astype(np.float32)
    for norm, metric in (("l1", "manhattan"), ("l2", "euclidean")):
        reference = sklearn.NearestNeighbors(n_neighbors=4, metric=metric, algorithm="brute")
        distance = reference.fit(x[:1000]).kneighbors(x[1000:1050])[0]
        found = neighbours.nearest(x[:1000], x[1000:1050], 4, norm=norm)
        np.testing.assert_allclose(found.distance, distance, rtol=1e-5)


def test_votes():
    labels = [[0, 1, 1], [2, 1, 0], [2, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(neighbours.vote(labels, 3), [1, 2, 0, 1])
    # Two of class 0 and two of class 3: the nearest of these is of class 3, the nearest of all is not.
    np.testing.assert_array_equal(neighbours.vote([[1, 3, 0, 0, 3]], 4), [3])


def test_classes_by_one_and_by_three(rng):
    examples = np.asarray([[0.0], [0.9], [1.1], [1.2]], np.float32)
    labels = np.asarray([0, 2, 1, 1], np.int32)
    queries = np.asarray([[-1.0], [0.95]], np.float32)
    for k, expected in ((1, [0, 2]), (3, [0, 1])):
        got = neighbours.classify(examples, labels, queries, k, classes=3)
        np.testing.assert_array_equal(got, expected)


def test_no_array_of_all_pairs(rng):
    x, q = jnp.zeros((4096, 8)), jnp.zeros((512, 8))
    for norm in neighbours.NORMS:
        arguments = {"k": 3, "norm": norm, "block": 256, "query_block": 16}
        text = neighbours._nearest.lower(x, q, **arguments).compile()
        assert text.memory_analysis().temp_size_in_bytes < 1.2e6  # all pairs: 8.4e6


def test_no_query_has_no_neighbours():
    found = neighbours.nearest(np.zeros((4, 2), np.float32), np.zeros((0, 2), np.float32), 2)
    assert found.row.shape == found.distance.shape == (0, 2)


ROWS = np.zeros((4, 2), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((ROWS, ROWS, 5), {}, ValueError, "1 <= k <= 4 examples, got 5"),
        ((ROWS, ROWS, 0), {}, ValueError, "1 <= k <= 4 examples, got 0"),
        ((ROWS, ROWS[:, :1]), {}, ValueError, r"shaped like the examples \(4, 2\), got \(4, 1\)"),
        ((ROWS, ROWS), {"norm": "l3"}, ValueError, "a norm among .* got 'l3'"),
        ((ROWS, ROWS), {"block": 0}, ValueError, "blocks of at least 1"),
        ((ROWS[0], ROWS[0]), {}, ValueError, r"examples of shape \(N, …\) with features"),
        ((ROWS.astype(np.uint8), ROWS), {}, TypeError, "examples of a floating dtype, got uint8"),
        ((ROWS, "four"), {}, ValueError, "expected queries of real floats, got str"),
        ((None, ROWS), {}, ValueError, "expected examples of real floats, got NoneType"),
        ((ROWS, ROWS, 2.0), {}, TypeError, "an int for k, got 2.0"),
        ((ROWS, ROWS), {"block": 2.5}, TypeError, "an int for block, got 2.5"),
    ],
)
def test_what_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=f"^nearest: .*{message}"):
        neighbours.nearest(*arguments, **options)


def test_refused_labels():
    with pytest.raises(TypeError, match="labels of integers, got float32"):
        neighbours.classify(ROWS, np.zeros(4, np.float32), ROWS, classes=2)
    with pytest.raises(ValueError, match=r"a label for each .* \(4, 2\), got labels \(3,\)"):
        neighbours.classify(ROWS, np.zeros(3, np.int32), ROWS, classes=2)


@pytest.mark.parametrize("label", [3, -1, 2**32 + 1])
def test_labels_that_are_no_class_are_refused(label):
    """One that is taken for a class, or counted with an index from the end, is an answer for nobody."""
    said = rf"labels in \[0, 3\), got {label} at example"
    with pytest.raises(ValueError, match=f"vote: expected {said}"):
        neighbours.vote([[0, label, label]], 3)
    # Also of an example that is nobody's neighbour.
    with pytest.raises(ValueError, match=f"classify: expected {said}"):
        neighbours.classify(ROWS, np.asarray([0, 1, 2, label]), ROWS, classes=3)


def test_in_jit_labels_that_are_no_class_elect_none():
    """-1, which is none, wherever a neighbour has such a label; the other queries have their answer."""
    labels = np.asarray([[5, 5, 0], [0, 1, 1], [0, 0, -1], [2, 0, 3]], np.int32)
    got = jax.jit(lambda labels: neighbours.vote(labels, 3))(labels)
    np.testing.assert_array_equal(got, [-1, 1, -1, -1])
    got = jax.jit(lambda labels: neighbours.classify(np.eye(3), labels, np.eye(3), classes=3))(
        np.asarray([7, 1, -1], np.int8)
    )
    np.testing.assert_array_equal(got, [-1, 1, -1])


def test_narrow_labels_of_more_classes_than_they_can_name():
    labels = np.asarray([[0, 100, 100], [44, 0, 0]], np.int8)
    np.testing.assert_array_equal(neighbours.vote(labels, 300), [100, 0])
    assert neighbours.vote(labels, 300).dtype == jnp.int32


def test_unsigned_labels_that_are_no_class():
    labels = np.asarray([[1, 2**32 - 1], [1, 0]], np.uint32)
    np.testing.assert_array_equal(jax.jit(lambda x: neighbours.vote(x, 3))(labels), [-1, 1])


@pytest.mark.parametrize(
    ("labels", "classes", "error", "message"),
    [
        ([[1, 2]], 0, ValueError, "one class at least, got 0"),
        ([1, 2], 3, ValueError, r"labels of shape \(Q, k\) with a neighbour at least, got \(2,\)"),
        (np.zeros((2, 0), int), 3, ValueError, r".* a neighbour at least, got \(2, 0\)"),
        ([[1.0]], 3, TypeError, "labels of integers, got float"),
        ([[1, 2], [1]], 3, ValueError, "integers as labels, got list: .*inhomogeneous"),
        ([[1]], 3.0, TypeError, "a number of classes, got 3.0"),
    ],
)
def test_refused_votes(labels, classes, error, message):
    with pytest.raises(error, match=f"vote: expected {message}"):
        neighbours.vote(labels, classes)


def test_classify_needs_a_class():
    with pytest.raises(ValueError, match="classify: expected one class at least, got 0"):
        neighbours.classify(ROWS, np.zeros(4, np.int32), ROWS, classes=0)


def test_low_precision_is_compared_in_float32():
    examples = jnp.asarray([[256.0, 0.0], [256.0, 1.0]], jnp.bfloat16)
    found = neighbours.nearest(examples, jnp.asarray([[0.0, 2.0]], jnp.bfloat16), 2)
    assert found.distance.dtype == jnp.float32
    np.testing.assert_array_equal(found.row, [[1, 0]])


def test_runs_inside_jit(rng):
    examples, queries = rng.normal(size=(2, 20, 3)).astype(np.float32)
    inside = jax.jit(lambda x, q: neighbours.nearest(x, q, 2))(examples, queries)
    np.testing.assert_array_equal(inside.row, by_loops(examples, queries, 2, "l2")[1])
