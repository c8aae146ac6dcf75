"""Random transforms: what each does to a picture, how they multiply, how their numbers are spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from fnn import augment
from fnn.augment.affine import UNITS, drawn_matrix, product
from fnn.augment.augmentation import example_keys, named_parts

COUNT = 4000


def parts(*unnamed, **named):
    return named_parts("affine", unnamed, named, lambda _, part: part.name)


def matrices_of(*unnamed, count=COUNT, seed=0, **named):
    """The matrices that so many examples draw, in float64."""
    keys = example_keys(jax.random.key(seed), count)
    drawn = jax.jit(jax.vmap(lambda key: drawn_matrix(key, parts(*unnamed, **named))))(keys)
    return np.asarray(drawn, np.float64)


def matrix(transform, *units):
    unit = np.zeros(UNITS, np.float32)
    unit[: len(units)] = units
    return np.asarray(transform.matrix(jnp.asarray(unit)), np.float64)


def uniform_within(values, low, high):
    """Every value is in the range; mean and variance are those of a uniform one, to 4 sigma."""
    values = (np.asarray(values) - low) / (high - low)
    assert values.min() >= -1e-6
    assert values.max() <= 1 + 1e-6
    n = values.size
    assert abs(values.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / n)
    assert abs(values.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / n)


def test_every_draw_is_spread_as_it_says():
    m = matrices_of(
        a=augment.rotate(30),
    )
    uniform_within(np.degrees(np.arctan2(m[:, 0, 1], m[:, 0, 0])), -30, 30)
    np.testing.assert_allclose(np.linalg.det(m[:, :, :2]), 1, atol=1e-6)
    m = matrices_of(a=augment.scale(0.5, 2))
    uniform_within(1 / m[:, 0, 0], 0.5, 2)
    np.testing.assert_array_equal(m[:, 0, 0], m[:, 1, 1])
    m = matrices_of(a=augment.stretch(0.5, 2))
    uniform_within(1 / m[:, [0, 1], [0, 1]], 0.5, 2)
    assert abs(np.corrcoef(m[:, 0, 0], m[:, 1, 1])[0, 1]) < 4 / np.sqrt(COUNT)
    m = matrices_of(a=augment.translate(3, 1))
    uniform_within(m[:, 0, 2], -3, 3)
    uniform_within(m[:, 1, 2], -1, 1)
    m = matrices_of(a=augment.shear(0.4))
    uniform_within(m[:, 1, 0], -0.4, 0.4)
    np.testing.assert_array_equal(m[:, 0], np.broadcast_to([1, 0, 0], (COUNT, 3)))
    m = matrices_of(a=augment.flip(0.3, 0.8))
    for row, probability in ((0, 0.8), (1, 0.3)):
        share = (m[:, row, row] == -1).mean()
        assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / COUNT)
        assert set(np.unique(m[:, row, row])) == {-1, 1}


def test_each_maps_the_picture_as_its_docstring_says():
    """The inverse of a matrix moves pixels of the input: (row, column) from the middle."""

    def moved(transform, units, place):
        m = matrix(transform, *units)
        return np.linalg.solve(m[:, :2], np.asarray(place) - m[:, 2])

    right, below = (0.0, 2.0), (2.0, 0.0)
    np.testing.assert_allclose(moved(augment.rotate(0, 90), [1], right), (-2, 0), atol=1e-6)
    np.testing.assert_allclose(moved(augment.rotate(0, 60), [0.5], right), (-1, 3**0.5), atol=1e-6)
    np.testing.assert_allclose(moved(augment.scale(3, 3), [0], right), (0, 6), atol=1e-6)
    np.testing.assert_allclose(moved(augment.stretch(1, 3), [0, 1], right), (0, 6), atol=1e-6)
    np.testing.assert_allclose(moved(augment.stretch(1, 3), [0, 1], below), (2, 0), atol=1e-6)
    np.testing.assert_allclose(moved(augment.translate(2, 1), [1, 0], right), (2, 1), atol=1e-6)
    np.testing.assert_allclose(moved(augment.shear(0.5), [1, 0.5], below), (2, 1), atol=1e-6)
    np.testing.assert_allclose(moved(augment.shear(0, 0.5), [0.5, 1], right), (1, 2), atol=1e-6)
    np.testing.assert_allclose(moved(augment.flip(1, 0), [0.5, 0.5], (1, 2)), (1, -2), atol=1e-6)
    # First the columns slide, then the rows.
    both = moved(augment.shear(0.5, 0.5), [1, 1], below)
    np.testing.assert_allclose(both, (2.5, 1), atol=1e-6)


@pytest.mark.parametrize("degrees", [-270, -180, -90, 0, 90, 180, 270, 360, 450])
def test_quarter_turns_are_exact(degrees):
    m = matrix(augment.rotate(degrees, degrees), 0.3)
    np.testing.assert_array_equal(np.abs(m), np.abs(np.rint(m)))
    angle = np.radians(degrees)
    expected = [[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0]]
    np.testing.assert_allclose(m, expected, atol=1e-6)


def test_angles_are_those_of_the_library():
    angles = np.linspace(-400, 400, 97)
    for angle in angles:
        m = matrix(augment.rotate(angle, angle), 0)
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        np.testing.assert_allclose(m, [[c, s, 0], [-s, c, 0]], atol=2e-6)


def test_the_first_one_acts_first_and_all_are_one_matrix(rng):
    turn, move = augment.rotate(90, 90), augment.translate(2, 2)
    m = matrices_of(turn, move, count=5)
    # out = move(turn(in)): the shift is along the output's own axes.
    alone = matrices_of(translate_1=move, count=5)
    expected = [product(matrix(turn, 0.0), shift) for shift in alone]
    np.testing.assert_allclose(m, expected, atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.solve(m[:, :, :2], -m[:, :, 2:])[..., 0], -alone[:, :, 2], atol=1e-5
    )


def test_a_transform_that_is_put_in_does_not_change_what_others_draw():
    one = matrices_of(augment.rotate(30), s=augment.scale(0.5, 2), count=5)
    two = matrices_of(augment.rotate(30), augment.rotate(0), s=augment.scale(0.5, 2), count=5)
    np.testing.assert_allclose(one, two, atol=1e-6)
    renamed = matrices_of(augment.rotate(30), t=augment.scale(0.5, 2), count=5)
    assert not np.allclose(one, renamed)
    assert not np.allclose(one, matrices_of(augment.rotate(30), count=5, seed=1))


def test_the_whole_is_what_scipy_makes_of_the_matrices(rng):
    x = rng.random((4, 12, 10, 2)).astype(np.float32)
    transforms = (augment.flip(), augment.scale(0.7, 1.4), augment.rotate(40), augment.shear(0.3))
    key = jax.random.key(7)
    y = jax.jit(augment.affine(*transforms, edge="edge", size=(11, 14)))(key, (x, ()))[0]
    assert y.shape == (4, 11, 14, 2)
    for image, out, m in zip(x, y, matrices_of(*transforms, count=4, seed=7), strict=True):
        offset = m[:, 2] + [5.5, 4.5] - m[:, :2] @ [5, 6.5]
        for c in range(2):
            expected = ndimage.affine_transform(
                image[..., c].astype(float), m[:, :2], offset, (11, 14), order=1, mode="nearest"
            )
            np.testing.assert_allclose(out[..., c], expected, atol=1e-5)


def test_gradients_go_back_to_the_images(rng, key):
    """It is linear in them, so that the derivative in a direction is what it makes of the direction."""
    x, direction, dy = rng.normal(size=(3, 2, 5, 4, 1)).astype(np.float32)
    augmentation = augment.affine(augment.rotate(40), edge="edge")

    def sampled(x, key):
        return augmentation(key, (x, ()))[0]

    @jax.jit
    def run(x, key):
        dx = jax.grad(lambda x: (sampled(x, key) * dy).sum())(x)
        return (dx * direction).sum(), (sampled(direction, key) * dy).sum()

    found, expected = run(x, key)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_another_size_crops_and_pads_about_the_middle(rng, key):
    x = rng.random((2, 6, 6, 1)).astype(np.float32)

    @jax.jit
    def run(x):
        return [augment.affine(size=size, fill=0.5)(key, (x, ()))[0] for size in ((4, 2), (8, 10))]

    small, large = run(x)
    np.testing.assert_array_equal(small, x[:, 1:5, 2:4])
    padding = ((0, 0), (1, 1), (2, 2), (0, 0))
    np.testing.assert_array_equal(large, np.pad(x, padding, constant_values=0.5))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: augment.flip(1.5), "flip: expected a probability from 0 to 1, got 1.5"),
        (lambda: augment.flip(0.5, -0.1), "flip: expected a probability from 0 to 1, got -0.1"),
        (lambda: augment.scale(0, 1), "scale: expected factors with 0 < low"),
        (lambda: augment.stretch(2, 1), "stretch: expected factors with 0 < low <= high"),
        (lambda: augment.rotate(-5), "rotate: expected finite degrees with low <= high"),
        (lambda: augment.rotate(0, np.inf), "rotate: expected finite degrees"),
        (lambda: augment.translate(-1), "translate: expected finite sizes of at least 0"),
        (lambda: augment.shear(np.nan), "shear: expected finite sizes of at least 0"),
        (lambda: augment.affine(edge="wrap"), "affine: expected edge among"),
        (lambda: augment.affine(augment.flip(), flip_1=augment.flip()), "two parts are called"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_what_is_no_transform_is_refused(key):
    with pytest.raises(TypeError, match="affine: expected transforms such as rotate"):
        augment.affine(augment.horizontal_flip())
    with pytest.raises(TypeError, match=r"compose: expected a function.* as augment\.affine"):
        augment.compose(augment.rotate(3))


@pytest.mark.parametrize("fill", [0.5, -1, 256])
def test_a_fill_that_bytes_do_not_hold_is_refused(key, fill):
    x = np.zeros((1, 3, 3, 1), np.uint8)
    for build in (augment.affine, augment.random_crop):
        with pytest.raises(ValueError, match="a fill that uint8 holds"):
            build(fill=fill)(key, (x, ()))
        with pytest.raises(ValueError, match=r"a fill from -65504 to 65504, .* float16, got 70000"):
            build(fill=70000)(key, (x.astype(np.float16), ()))
    with pytest.raises(TypeError, match="images of numbers, got bool"):
        augment.affine()(key, (x.astype(bool), ()))
