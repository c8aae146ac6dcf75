"""The sizes that settings of a convolution give, and what is said about bad ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "dilation", "outputs"),
    [
        (32, 5, 1, 0, 1, 28),
        (227, 11, 4, 0, 1, 55),
        (7, 3, 1, 0, 1, 5),
        (7, 3, 2, 0, 1, 3),
        (7, 3, 3, 0, 1, 2),  # (7 - 3) / 3 + 1 = 2.33: rounded down, the last pixel is not read
        (7, 3, 3, 1, 1, 3),
        (5, 3, 2, 1, 1, 3),
        (10, 4, 3, "SAME", 1, 4),
        (10, 4, 3, "VALID", 1, 3),
        (10, 3, 1, (0, 2), 2, 8),
    ],
)
def test_output_size(size, window, stride, padding, dilation, outputs):
    assert layers.conv_output_size(size, window, stride, padding, dilation=dilation) == outputs


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [(7, 3, 1, 0), (7, 3, 2, 0), (227, 11, 4, 0), (5, 3, 2, 1), (8, 3, 2, (0, 1))],
)
def test_exact_sizes(size, window, stride, padding):
    floor = layers.conv_output_size(size, window, stride, padding)
    assert layers.conv_output_size(size, window, stride, padding, exact=True) == floor


def test_what_does_not_fit_is_an_error_only_if_asked():
    """The notes' example: a 3×3 filter with stride 3 does not fit a 7×7 image."""
    with pytest.raises(
        ValueError, match=r"\(7 - 3\) / 3 \+ 1 = 2\.33, and 1 pixels .* or 2 more pixels of padding"
    ):
        layers.conv_output_size(7, 3, 3, exact=True)
    assert layers.conv_output_size(7, 3, 3, (1, 1), exact=True) == 3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.convolution(0, 3), "at least one feature"),
        (lambda: layers.convolution(6, 3, groups=4), "features=6 and groups=4"),
        (lambda: layers.convolution(6, 3, groups=0), "one group"),
        (
            lambda: layers.convolution(6, 0),
            "a window of one int, or one for each .* none below 1, got 0",
        ),
        (lambda: layers.convolution(6, (3, 3, 3, 3)), r"a window .* got \(3, 3, 3, 3\)"),
        (lambda: layers.convolution(6, 3.0), r"a window .* got 3\.0"),
        (lambda: layers.convolution(6, True), "a window .* got True"),
        (
            lambda: layers.convolution(6, np.ones((1, 3), int)),
            r"a window .* got array\(\[\[1, 1, 1\]\]\)",
        ),
        (lambda: layers.convolution(6, 3, padding=np.zeros((4, 2), int)), "expected padding"),
        (lambda: layers.convolution(6, 3, padding=()), r"expected padding .* got \(\)"),
        (lambda: layers.convolution(6, ()), r"a window .* got \(\)"),
        (
            lambda: layers.convolution(6, 3, stride=(1, 2), padding=((1, 1),)),
            "for one number of axes, got a stride for 2, padding for 1; an int is for every axis",
        ),
        (lambda: layers.convolution(6, 3, padding=0.5), r"expected padding .* got 0\.5"),
        (lambda: layers.convolution(6, 3, stride=0), "a stride of one int"),
        (lambda: layers.convolution(6, 3, dilation=(1, 0)), "a dilation of one int"),
        (lambda: layers.convolution(6, 3, padding="same"), "expected padding .* got 'same'"),
        (lambda: layers.convolution(6, 3, padding=-1), "expected padding .* got -1"),
        (lambda: layers.convolution(6, 3, padding=(1, 1)), r"expected padding .* got \(1, 1\)"),
        (
            lambda: layers.convolution(6, 3, padding=((1, 1), (0, -1))),
            r"none below 0, got \(\(1, 1\), \(0, -1\)\)",
        ),
        (lambda: layers.conv_output_size(4, 5), "at least 5 pixels .* got 4"),
        (lambda: layers.conv_output_size(4, 2, 0), "a window and a stride"),
        (lambda: layers.conv_output_size(4, 2, padding=(-1, 0)), "none below 0"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            layers.convolution(4, 3),
            (5, 3),
            r"\(N, \*spatial, C\) with one to 3 spatial axes, got \(5, 3\)",
        ),
        (layers.convolution(4, 3), (2, 2, 2, 2, 2, 2), "one to 3 spatial axes, got"),
        (layers.convolution(4, (3, 3)), (5, 5, 3), r"\(N, H, W, C\), got \(5, 5, 3\)"),
        (layers.convolution(4, 3, stride=(2,)), (1, 5, 5, 3), r"\(N, W, C\), got \(1, 5, 5, 3\)"),
        (layers.convolution(4, 3), (1, 5, 5, 0), r"got \(1, 5, 5, 0\)"),
        (layers.convolution(4, 3, groups=2), (1, 5, 5, 3), "multiple of groups=2, got 3 channels"),
        (
            layers.convolution(4, 3, padding="VALID"),
            (1, 5, 2, 3),
            r"at least 3 pixels for a window of 3 .* got 2 and padding \(0, 0\)",
        ),
        (
            layers.convolution(4, 3, padding="VALID", dilation=3),
            (1, 6, 9, 3),
            "at least 7 pixels for a window of 3 with dilation 3, got 6",
        ),
    ],
)
def test_bad_images_are_refused_at_the_start(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.init(jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 5, 5, 4), r"expected x of shape \(N, H, W, 3\), got \(1, 5, 5, 4\)"),
        ((5, 5, 3), r"expected x of shape \(N, H, W, 3\), got \(5, 5, 3\)"),
        ((1, 2, 5, 3), "at least 3 pixels"),
    ],
)
def test_bad_images_are_refused_later(shape, message):
    layer = layers.convolution(4, 3, padding="VALID")
    params, _ = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 5, 5, 3), np.float32))
    with pytest.raises(ValueError, match=message):
        layer.forward(params, (), jnp.zeros(shape), None)
    with pytest.raises(ValueError, match=message):
        layer.predict(params, (), jnp.zeros(shape))


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.int32])
def test_numpys_integers_are_integers(integer):
    pads = np.asarray([[1, 0], [0, 2]], integer)
    settings = {
        "stride": integer(2),
        "dilation": np.asarray([1, 2], integer),
        "padding": pads,
        "groups": integer(2),
    }
    layer = layers.convolution(integer(4), np.asarray([3, 2], integer), **settings)
    plain = layers.convolution(
        4, (3, 2), stride=2, dilation=(1, 2), padding=((1, 0), (0, 2)), groups=2
    )
    key, x = jax.random.key(0), jnp.ones((1, 6, 7, 2))
    params, _ = layer.init(key, x)
    np.testing.assert_array_equal(
        layer.predict(params, (), x), plain.predict(plain.init(key, x)[0], (), x)
    )
    assert layer.name == plain.name
    pool = layers.max_pool(integer(3), stride=integer(2), padding=integer(1))
    same = layers.max_pool(3, stride=2, padding=1)
    np.testing.assert_array_equal(pool.predict((), (), x), same.predict((), (), x))
    assert layers.conv_output_size(10, integer(3), 1, integer(1)) == 10
    assert layers.conv_output_size(10, 3, 1, pads[1], integer(2)) == 8


def test_groups_reach_the_initializer(key):
    """Whose fans they change: a grouped kernel's outputs reach fewer inputs."""
    seen = {}

    def recorded(key, shape, dtype, groups=1):
        seen[shape] = groups
        return jnp.zeros(shape, dtype)

    layer = layers.convolution(8, 3, groups=4, kernel_init=recorded)
    layer.init(key, jnp.zeros((1, 5, 5, 4)))
    assert seen == {(3, 3, 1, 8): 4}


def test_integer_images_are_refused():
    layer = layers.convolution(4, 3)
    with pytest.raises(TypeError, match="floating dtype, got uint8"):
        layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 5, 5, 3), np.uint8))


def test_initial_weights_have_the_fan_in_of_one_group():
    layer = layers.convolution(512, 3, groups=4)
    params, _ = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 64), np.float32))
    assert params.w.shape == (3, 3, 16, 512)
    np.testing.assert_allclose(np.asarray(params.w).std(), np.sqrt(2 / (9 * 16)), rtol=0.02)
    assert not np.asarray(params.b).any()
