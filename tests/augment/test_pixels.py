"""Crops, mirror images, cutout, erasing and noise: against NumPy's slices, and how they are spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import augment

COUNT = 2000
H, W = 7, 9


@pytest.fixture(scope="module")
def results():
    """All of them on images whose pixels are all different, in one program."""
    x = 1 + np.arange(H * W, dtype=np.float32).reshape(1, H, W, 1)
    x = np.concatenate([x, x + 100], axis=-1).repeat(COUNT, axis=0)
    augmentations = {
        "crop": augment.random_crop(2, fill=-1),
        "crop edge": augment.random_crop(2, edge="edge"),
        "crop reflect": augment.random_crop(2, edge="reflect"),
        "window": augment.random_crop(size=(3, 5)),
        "padded window": augment.random_crop(1, size=(8, 4)),
        "horizontal": augment.horizontal_flip(0.3),
        "vertical": augment.vertical_flip(0.3),
        "cutout": augment.cutout(3, fill=-1),
        "even cutout": augment.cutout(4, fill=-1),
        "erasing": augment.random_erasing(0.7, area=(0.1, 0.3), ratio=(0.5, 2), fill=-1),
        "noise": augment.gaussian_noise(0.25),
    }

    @jax.jit
    def run(key):
        return {name: a(key, (x, ()))[0] for name, a in augmentations.items()}

    return x, jax.device_get(run(jax.random.key(0)))


@pytest.mark.parametrize(
    ("name", "padding", "size", "mode"),
    [
        ("crop", 2, (H, W), {"mode": "constant", "constant_values": -1}),
        ("crop edge", 2, (H, W), {"mode": "edge"}),
        ("crop reflect", 2, (H, W), {"mode": "reflect"}),
        ("window", 0, (3, 5), {"mode": "constant"}),
        ("padded window", 1, (8, 4), {"mode": "constant"}),
    ],
)
def test_crops_are_windows_and_each_place_is_equally_likely(results, name, padding, size, mode):
    x, out = results[0], results[1][name]
    border = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(x[0], border, **mode)
    windows = {
        padded[i : i + size[0], j : j + size[1]].tobytes(): (i, j)
        for i in range(padded.shape[0] - size[0] + 1)
        for j in range(padded.shape[1] - size[1] + 1)
    }
    places = [windows[np.ascontiguousarray(image).tobytes()] for image in out]
    counts = np.array([places.count(place) for place in windows.values()])
    expected = COUNT / len(windows)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = len(windows) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(("name", "axis"), [("horizontal", 2), ("vertical", 1)])
def test_mirror_images_come_as_often_as_asked_for(results, name, axis):
    x, out = results[0], results[1][name]
    flipped = (out == np.flip(x, axis)).all(axis=(1, 2, 3))
    same = (out == x).all(axis=(1, 2, 3))
    assert (flipped ^ same).all()
    assert abs(flipped.mean() - 0.3) < 4 * np.sqrt(0.21 / COUNT)


@pytest.mark.parametrize(("name", "size"), [("cutout", 3), ("even cutout", 4)])
def test_cutout_covers_a_square_about_any_pixel(results, name, size):
    x, out = results[0], results[1][name]
    squares = {}
    for i in range(H):
        for j in range(W):
            expected = x[0].copy()
            top, left = i - size // 2, j - size // 2
            expected[max(top, 0) : top + size, max(left, 0) : left + size] = -1
            squares[expected.tobytes()] = (i, j)
    assert len(squares) == H * W
    places = [squares[np.ascontiguousarray(image).tobytes()] for image in out]
    counts = np.array([places.count(place) for place in squares.values()])
    expected = COUNT / (H * W)
    assert ((counts - expected) ** 2 / expected).sum() < H * W - 1 + 4 * np.sqrt(2 * (H * W - 1))


def test_erasing_covers_one_rectangle_of_the_shares_and_ratios_asked_for(results):
    x, out = results[0], results[1]["erasing"]
    covered = (out == -1).all(axis=-1)
    np.testing.assert_array_equal(out, np.where(covered[..., None], -1, x))
    erased = covered.any(axis=(1, 2))
    assert abs(erased.mean() - 0.7) < 4 * np.sqrt(0.21 / COUNT)
    rows, columns = covered.any(axis=2).sum(axis=1), covered.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, covered.sum(axis=(1, 2)))
    # Before the rounding, sides are from √(0.1 · 63 / 2) = 1.8 to √(0.3 · 63 · 2) = 6.1 pixels.
    for sides in (rows[erased], columns[erased]):
        assert set(sides) == {2, 3, 4, 5, 6}
    assert abs(covered[erased].mean() - 0.2) < 0.01
    assert covered[:, 0, 0].any()
    assert covered[:, -1, -1].any()
    assert abs(np.log(rows[erased] / columns[erased]).mean()) < 0.05


def test_noise_is_normal_and_new_for_every_pixel_and_image(results):
    noise = (results[1]["noise"] - results[0]) / 0.25
    n = noise.size
    assert abs(noise.mean()) < 4 / np.sqrt(n)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / n) + 1e-4
    assert abs((np.abs(noise) < 1).mean() - 0.6827) < 4 * np.sqrt(0.2166 / n)
    flat = noise.reshape(COUNT, -1)
    correlations = np.corrcoef(flat[:, :8].T) - np.eye(8)
    assert np.abs(correlations).max() < 5 / np.sqrt(COUNT)
    assert len(np.unique(flat[:, 0])) > COUNT - 5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: augment.random_crop(-1), "padding of a whole number >= 0, got -1"),
        (lambda: augment.random_crop(1.5), "padding of a whole number"),
        (lambda: augment.random_crop(size=(0, 2)), "two positive integers"),
        (lambda: augment.random_crop(1, edge="wrap"), "edge among"),
        (lambda: augment.horizontal_flip(2), "probability from 0 to 1, got 2"),
        (lambda: augment.vertical_flip(np.nan), "probability from 0 to 1, got nan"),
        (lambda: augment.cutout(-2), "cutout: expected a size of a whole number >= 0"),
        (lambda: augment.cutout(2, fill=np.inf), "cutout: expected a fill"),
        (lambda: augment.random_erasing(0.5, area=(0.4, 0.2)), "shares of the area"),
        (lambda: augment.random_erasing(0.5, ratio=(0, 2)), "positive ratios"),
        (lambda: augment.gaussian_noise(-1), "standard deviation from 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_window_larger_than_the_image_is_refused(key):
    x = jnp.zeros((2, 5, 5, 1))
    with pytest.raises(
        ValueError, match=r"hold a window of \(8, 5\) pixels, got \(5, 5\), padded by 1"
    ):
        augment.random_crop(1, size=(8, 5))(key, (x, ()))
