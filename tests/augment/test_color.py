"""Colour jitter: against loops over pixels with Python's colorsys, and how its factors are spread."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import augment
from fnn.augment.augmentation import example_keys, uniforms
from fnn.augment.color import hue_turned

COUNT = 500
SETTINGS = {
    "brightness": {"brightness": 0.4},
    "strong": {"brightness": 1.5, "limits": None},
    "contrast": {"contrast": 0.4},
    "saturation": {"saturation": 0.4},
    "hue": {"hue": 0.3},
    "all": {"brightness": 0.4, "contrast": 0.5, "saturation": 0.6, "hue": 0.1},
    "all centred": {
        "brightness": 0.4,
        "contrast": 0.5,
        "saturation": 0.6,
        "hue": 0.1,
        "limits": None,
    },
}


def loops(image, units, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, limits=(0.0, 1.0)):
    """One image, pixel by pixel in Python's floats."""

    def factor(unit, strength):
        low = max(0.0, 1 - strength)
        return low + unit * (1 + strength - low)

    def grey(p):
        return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]

    def each(function):
        def clip(v):
            return v if limits is None else min(max(v, limits[0]), limits[1])

        return [[[clip(v) for v in function(p)] for p in row] for row in image]

    image = image.astype(float).tolist()
    if brightness:
        b = factor(units[0], brightness)
        image = each(lambda p: [b * v for v in p])
    if contrast:
        c = factor(units[1], contrast)
        mean = np.mean([grey(p) for row in image for p in row])
        image = each(lambda p: [mean + c * (v - mean) for v in p])
    if saturation:
        s = factor(units[2], saturation)
        image = each(lambda p: [grey(p) + s * (v - grey(p)) for v in p])
    if hue:
        turn = hue * (2 * units[3] - 1)

        def turned(p):
            # colorsys divides by the largest channel; hue knows no shift, nor a positive factor.
            shift, size = min(p) - 0.1, max(p) - min(p) + 0.2
            h, s, v = colorsys.rgb_to_hsv(*((v - shift) / size for v in p))
            return [shift + size * v for v in colorsys.hsv_to_rgb((h + turn) % 1, s, v)]

        image = each(turned)
    return np.array(image)


@pytest.fixture(scope="module")
def results():
    x = np.random.default_rng(0).random((COUNT, 3, 4, 3)).astype(np.float32)
    x[0] = 0.25  # grey has no hue
    key = jax.random.key(1)

    @jax.jit
    def run(key):
        units = jax.vmap(lambda key: uniforms(key, 4))(example_keys(key, COUNT))
        return units, {
            name: augment.color_jitter(**given)(key, (x - 0.5 * ("centred" in name), ()))[0]
            for name, given in SETTINGS.items()
        }

    return x, *jax.device_get(run(key))


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_what_loops_over_pixels_compute(results, name):
    x, units, out = results
    for i in range(25):
        image = x[i] - 0.5 * ("centred" in name)
        expected = loops(image, units[i].astype(float), **SETTINGS[name])
        np.testing.assert_allclose(out[name][i], expected, atol=3e-6)


def test_factors_are_spread_over_their_range(results):
    x, _, out = results
    for name, low, high in (("brightness", 0.6, 1.4), ("strong", 0.0, 2.5)):
        factors = out[name].min(axis=(1, 2, 3)) / x.min(
            axis=(1, 2, 3)
        )  # the darkest is not clipped
        scaled = (factors - low) / (high - low)
        assert scaled.min() > -1e-5
        assert scaled.max() < 1 + 1e-5
        assert abs(scaled.mean() - 0.5) < 4 * np.sqrt(1 / 12 / COUNT)
        assert abs(scaled.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / COUNT)


def test_a_whole_turn_of_the_hue_is_none_and_a_third_moves_red_to_green(rng):
    x = rng.normal(size=(5, 3)).astype(np.float32)
    run = jax.jit(hue_turned)
    np.testing.assert_allclose(run(x, jnp.float32(1)), x, atol=1e-5)
    third = run(np.float32([[1, 0, 0], [0.2, 0.7, 0.2]]), jnp.float32(1 / 3))
    np.testing.assert_allclose(third, [[0, 1, 0], [0.2, 0.2, 0.7]], atol=1e-6)
    grey = np.full((2, 3), 0.3, np.float32)
    np.testing.assert_array_equal(run(grey, jnp.float32(0.2)), grey)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"brightness": -0.1}, "brightness from 0.0"),
        ({"contrast": np.nan}, "contrast from 0.0"),
        ({"saturation": -1}, "saturation from 0.0"),
        ({"hue": 0.6}, "hue from 0.0 to 0.5, got 0.6"),
        ({"limits": (1, 0)}, "limits, the lower one first"),
    ],
)
def test_amounts_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        augment.color_jitter(**given)


@pytest.mark.parametrize("given", [{"saturation": 0.1}, {"hue": 0.1}])
def test_grey_images_have_no_saturation_and_no_hue(key, given):
    with pytest.raises(ValueError, match=r"three channels .* got 1; set both to 0"):
        augment.color_jitter(**given)(key, (jnp.zeros((1, 2, 2, 1)), ()))
