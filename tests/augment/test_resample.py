"""The resampling: against SciPy's splines of order 0 and 1, and its backward against `fnn.check`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from fnn import augment, check
from fnn.augment.affine import product
from fnn.augment.resample import Sampling, sampled

MODES = {"constant": "grid-constant", "edge": "nearest", "reflect": "mirror"}
ORDERS = {"bilinear": 1, "nearest": 0}
SIZES = (None, (5, 11))


def scipy_resample(x, matrix, size, interpolation, edge, fill):
    """The same by `scipy.ndimage.affine_transform`, channel by channel in float64."""
    shape = size or x.shape[:2]
    linear = matrix[:, :2].astype(float)
    middle = (np.array(x.shape[:2]) - 1) / 2
    offset = matrix[:, 2] + middle - linear @ ((np.array(shape) - 1) / 2)
    return np.stack(
        [
            ndimage.affine_transform(
                x[..., c].astype(float),
                linear,
                offset,
                shape,
                order=ORDERS[interpolation],
                mode=MODES[edge],
                cval=fill,
            )
            for c in range(x.shape[2])
        ],
        axis=-1,
    )


def images_and_matrices(rng, count=3, shape=(9, 7, 2)):
    """Images, and maps that turn and move them a good deal, also out of sight."""
    x = rng.normal(size=(count, *shape)).astype(np.float32)
    noise = rng.normal(size=(count, 2, 3)) * [0.3, 0.3, 5]
    return x, (np.eye(2, 3) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def resampled():
    """Every way to sample the same images, in one program."""
    x, matrices = images_and_matrices(np.random.default_rng(0))
    ways = [(s, i, e) for s in SIZES for i in ORDERS for e in MODES]

    @jax.jit
    def run(x):
        return [
            augment.resample(s, interpolation=i, edge=e, fill=0.5).predict((), (), x)
            for s, i, e in ways
        ]

    return x, matrices, dict(zip(ways, run((x, matrices)), strict=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ORDERS)
@pytest.mark.parametrize("edge", MODES)
def test_it_is_what_scipy_computes(resampled, size, interpolation, edge):
    x, matrices, ways = resampled
    for image, matrix, y in zip(x, matrices, ways[size, interpolation, edge], strict=True):
        expected = scipy_resample(image, matrix, size, interpolation, edge, 0.5)
        np.testing.assert_allclose(y, expected, atol=2e-5)


WAYS = [
    {"size": (4, 5)},
    {"edge": "edge"},
    {"edge": "reflect"},
    {"fill": -2.0},
    {"interpolation": "nearest", "edge": "edge"},
    {"interpolation": "nearest", "size": (4, 5)},
]


def test_its_backward_is_that_of_autodiff(rng):
    x = jax.tree.map(jnp.asarray, images_and_matrices(rng, 2, (5, 4, 2)))

    @jax.jit
    def run(x):
        pairs = []
        for way in WAYS[:2]:
            layer = augment.resample(**way)
            y, _, cache = layer.forward((), (), x, None)
            dy = jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            by_autodiff = jax.vjp(lambda x, layer=layer: layer.predict((), (), x), x)[1]
            pairs.append((layer.backward((), cache, dy)[1], by_autodiff(dy)[0]))
        return pairs

    for way, (by_hand, by_autodiff) in zip(WAYS[:2], run(x), strict=True):
        for a, b in zip(by_hand, by_autodiff, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=str(way))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_its_backward_is_right(rng, way):
    check.assert_gradients(augment.resample(**way), images_and_matrices(rng, 2, (5, 4, 2)))


@pytest.mark.parametrize("edge", MODES)
def test_quarter_turns_and_whole_shifts_compose_as_their_matrices_do(rng, edge):
    """Each moves pixels by whole numbers, so that two resamplings are the one of the product."""
    x = rng.normal(size=(6, 6, 1)).astype(np.float32)
    turn = np.array([[0, 1, 0], [-1, 0, 0]], np.float32)
    shift = np.array([[1, 0, 2], [0, 1, -1]], np.float32)
    way = Sampling(None, "bilinear", edge, 0.25)
    one_by_one = sampled(sampled(jnp.asarray(x), jnp.asarray(turn), way), jnp.asarray(shift), way)
    if edge != "constant":  # what is shifted out of a picture is gone, but a border knows no more
        one_by_one = one_by_one[:4, 1:]
    at_once = sampled(jnp.asarray(x), product(jnp.asarray(turn), jnp.asarray(shift)), way)
    np.testing.assert_array_equal(one_by_one, at_once if edge == "constant" else at_once[:4, 1:])
    np.testing.assert_array_equal(sampled(jnp.asarray(x), jnp.asarray(turn), way), np.rot90(x))


def test_the_turn_is_counter_clockwise():
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    y = jax.jit(augment.affine(augment.rotate(90, 90)))(jax.random.key(0), (x, ()))[0]
    np.testing.assert_array_equal(y[0], np.rot90(x[0]))


@pytest.mark.parametrize(("edge", "outside"), [("constant", 7.0), ("edge", 1.0), ("reflect", 1.0)])
def test_a_matrix_of_any_numbers_reads_nothing_outside_of_the_image(edge, outside):
    """Places that are no numbers give NaN, those far away what lies outside; forward and backward."""
    x = jnp.ones((5, 4, 3, 1))
    far = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32)
    matrices = np.tile(np.eye(2, 3, dtype=np.float32), (5, 1, 1))
    matrices[:, 0, 2] = far
    layer = augment.resample(edge=edge, fill=7.0)

    @jax.jit
    def run(x):
        y, _, cache = layer.forward((), (), x, None)
        return y, layer.backward((), cache, jnp.ones_like(y))[1][0]

    y, dx = run((x, jnp.asarray(matrices)))
    expected = np.where(np.isfinite(far), outside, np.nan)[:, None, None, None]
    np.testing.assert_array_equal(y, np.broadcast_to(expected, x.shape))
    np.testing.assert_array_equal(dx[3:].sum(axis=(1, 2, 3)), 0 if edge == "constant" else 12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": (0, 3)}, "two positive integers or None"),
        ({"size": (3,)}, "two positive integers or None"),
        ({"interpolation": "cubic"}, "interpolation among"),
        ({"edge": "wrap"}, "edge among"),
        ({"fill": np.nan}, "finite fill"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        augment.resample(**given)


@pytest.mark.parametrize(
    ("images", "matrices", "error", "message"),
    [
        (np.zeros((2, 3, 3, 1), np.int32), np.zeros((2, 2, 3), np.float32), TypeError, "int32"),
        (np.zeros((2, 3, 3, 1)), np.zeros((2, 2, 3), np.int32), TypeError, "matrices .* int32"),
        (np.zeros((2, 3, 3)), np.zeros((2, 2, 3)), ValueError, "N, H, W, C"),
        (np.zeros((2, 0, 3, 1)), np.zeros((2, 2, 3)), ValueError, "with pixels"),
        (np.zeros((2, 3, 3, 1)), np.zeros((3, 2, 3)), ValueError, r"\(2, 2, 3\), got \(3, 2, 3\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(images, matrices, error, message):
    with pytest.raises(error, match=message):
        augment.resample().predict((), (), (images, matrices))
