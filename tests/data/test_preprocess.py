"""Zero-centring: fitted on the training part, applied to both, never fitted again."""

import numpy as np
import pytest

from fnn.data import Centre, Dataset, Examples, centred, mean_image

rng = np.random.default_rng(0)
TRAIN = rng.random((50, 4, 3, 2)).astype(np.float32)
TEST = rng.random((20, 4, 3, 2)).astype(np.float32)


def dataset(train=TRAIN, test=TEST):
    return Dataset(
        "made",
        Examples(train, np.zeros(len(train), np.int32)),
        Examples(test, np.zeros(len(test), np.int32)),
        ("one",),
    )


def test_the_mean_image_is_the_mean_over_the_examples():
    expected = np.array(
        [
            [[float(sum(map(float, TRAIN[:, i, j, k]))) / 50 for k in range(2)] for j in range(3)]
            for i in range(4)
        ]
    )
    centre = mean_image(TRAIN)
    assert centre.mean.dtype == np.float32
    np.testing.assert_allclose(centre.mean, expected, rtol=1e-7)


def test_many_images_are_summed_without_loss():
    """A float32 running sum of 2^15 values near 1 is off by more than one last place."""
    x = np.full((2**15, 1, 1, 1), 1 / 3, np.float32)
    assert mean_image(x).mean == x[0]


def test_both_parts_are_centred_by_the_training_mean():
    out, centre = centred(dataset())
    np.testing.assert_allclose(out.train.x.mean(axis=0), np.zeros((4, 3, 2)), atol=1e-7)
    np.testing.assert_array_equal(out.train.x, TRAIN - centre.mean[None], strict=True)
    np.testing.assert_array_equal(out.test.x, TEST - centre.mean[None], strict=True)
    assert out.train.y is not None
    assert out._replace(train=None, test=None) == dataset()._replace(train=None, test=None)


def test_the_test_part_has_no_say():
    out, centre = centred(dataset())
    other, other_centre = centred(dataset(test=TEST + np.float32(100)))
    np.testing.assert_array_equal(centre.mean, other_centre.mean)
    np.testing.assert_array_equal(out.train.x, other.train.x)


def test_what_is_given_is_left_alone():
    train, test = TRAIN.copy(), TEST.copy()
    centred(dataset(train, test))
    np.testing.assert_array_equal(train, TRAIN)
    np.testing.assert_array_equal(test, TEST)


def test_one_image_is_centred_like_a_batch_of_one():
    centre = mean_image(TRAIN)
    np.testing.assert_array_equal(centre.apply(TEST[0]), centre.apply(TEST[:1])[0], strict=True)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (TEST[:, :3], "expected images of shape (4, 3, 2), got x of (20, 3, 3, 2)"),
        (TEST[None], "expected images of shape (4, 3, 2), got x of (1, 20, 4, 3, 2)"),
        (TEST[0, 0], "expected images of shape (4, 3, 2), got x of (3, 2)"),
        ((TEST * 255).astype(np.uint8), "expected float32 images"),
        (TEST.astype(np.float64), "expected float32 images"),
    ],
)
def test_images_of_another_kind_are_refused(x, words):
    with pytest.raises(ValueError, match="expected") as caught:
        mean_image(TRAIN).apply(x)
    assert words in str(caught.value)


@pytest.mark.parametrize("x", [TRAIN[:0], TRAIN[:, :0], TRAIN[0, 0, 0], TRAIN.astype(np.uint8)])
def test_nothing_to_fit_is_refused(x):
    with pytest.raises(ValueError, match="expected at least one floating-point image"):
        mean_image(x)


def test_a_centre_is_a_value():
    centre = Centre(np.zeros((1, 1, 1), np.float32))
    assert centre._fields == ("mean",)
