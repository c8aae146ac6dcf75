"""What holds for every augmentation: keys, shapes, dtypes, settings that change nothing, transforms."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmentations import ROWS, batch

from fnn import augment


@pytest.fixture(params=ROWS, ids=str)
def row(request):
    return ROWS[request.param]


def same(a, b):
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert p.dtype == q.dtype
        np.testing.assert_array_equal(p, q)


def test_every_augmentation_has_a_row():
    public = {
        name
        for name, function in vars(augment).items()
        if inspect.isfunction(function)
        and inspect.signature(function).return_annotation == augment.Augmentation
    }
    assert public - {"identity"} == {name.split()[0] for name in ROWS}


def test_the_key_alone_decides_and_shapes_and_dtypes_stay(row, key, rng):
    run = jax.jit(row.build())
    given = batch(rng, channels=row.channels, weights=True)
    first, again = run(key, given), run(key, given)
    same(first, again)
    other = run(jax.random.key(1), given)
    assert not np.array_equal(first[0], other[0])
    assert len(first) == 3
    assert (first[0].shape, first[0].dtype) == (given[0].shape, given[0].dtype)
    assert first[1].shape == ((6, 5) if row.soft else (6,))
    assert first[2].shape == (6,)
    if not row.soft:
        same(first[1:], given[1:])
    assert np.isfinite(first[0]).all()


def test_compiled_it_gives_what_it_gives_outside(row, key, rng):
    given = batch(rng, channels=row.channels)
    augmentation = row.build()
    for a, b in zip(jax.jit(augmentation)(key, given), augmentation(key, given), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_an_example_does_not_depend_on_how_many_there_are(row, key, rng):
    """The first of six is what the first of one is; every place draws for itself."""
    augmentation = row.build()
    x, labels = batch(rng, channels=row.channels)
    alike = jnp.broadcast_to(x[:1], x.shape), jnp.broadcast_to(labels[:1], labels.shape)
    if row.alone:
        whole = augmentation(key, (x, labels))[0]
        np.testing.assert_allclose(whole[:1], augmentation(key, (x[:1], labels[:1]))[0], atol=2e-6)
        out = np.asarray(augmentation(key, alike)[0])
        assert len(np.unique(out.reshape(6, -1), axis=0)) > 1


def test_settings_that_change_nothing_keep_every_bit(row, key, rng):
    if row.still is None:
        pytest.skip("no setting leaves all images as they are")
    given = batch(rng, channels=row.channels)
    still = row.still()
    for run in (still, jax.jit(still)):
        np.testing.assert_array_equal(run(key, given)[0], given[0])
    if row.soft:
        np.testing.assert_array_equal(still(key, given)[1], jax.nn.one_hot(given[1], 5))


def test_bytes_stay_bytes_or_are_refused(row, key, rng):
    given = batch(rng, channels=row.channels, dtype=np.uint8)
    augmentation = row.build()
    if not row.takes_bytes:
        with pytest.raises(TypeError, match="floating dtype, got uint8"):
            augmentation(key, given)
        return
    x = augmentation(key, given)[0]
    assert x.dtype == np.uint8
    assert not np.array_equal(x, given[0])
    # What floats give, to the rounding.
    wide = augmentation(key, (given[0].astype(jnp.float32), given[1]))[0]
    np.testing.assert_allclose(x, wide, atol=0.5001)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_stays_and_agrees(row, key, rng, dtype):
    x, labels = batch(rng, channels=row.channels)
    x = x.astype(dtype)
    low = row.build()(key, (x, labels))[0]
    assert low.dtype == dtype
    wide = row.build()(key, (x.astype(jnp.float32), labels))[0]
    np.testing.assert_allclose(low.astype(jnp.float32), wide, atol=0.05, rtol=0.01)


def test_one_image_none_and_other_sizes(row, key, rng):
    for count, shape in ((1, (7, 9)), (0, (7, 9)), (2, (1, 4)), (3, (8, 3))):
        given = batch(rng, count, shape, row.channels)
        if shape == (1, 4) and "reflect" in str(row.build.__code__.co_consts):
            continue  # nothing to reflect beside a single row, as for `numpy.pad`
        x = row.build()(key, given)[0]
        assert (x.shape, x.dtype) == (given[0].shape, given[0].dtype)


def test_it_is_mapped_over_keys(row, key, rng):
    given = batch(rng, 3, channels=row.channels)
    augmentation = row.build()
    keys = jax.random.split(key, 2)
    mapped = jax.vmap(augmentation, in_axes=(0, None))(keys, given)
    for i in range(2):
        for a, b in zip(mapped, augmentation(keys[i], given), strict=True):
            np.testing.assert_allclose(a[i], b, atol=2e-6)


def test_what_is_no_batch_of_images_is_refused(row, key, rng):
    augmentation = row.build()
    x, labels = batch(rng, channels=row.channels)
    if row.build is ROWS["compose"].build or row.build is ROWS["sometimes"].build:
        expected = "random_crop|sometimes"
    else:
        expected = ""
    with pytest.raises(ValueError, match=f"{expected}.*shape .N, H, W, C., got .6, 7, 9"):
        augmentation(key, (x[..., 0], labels))
    with pytest.raises(ValueError, match="got 1 entries"):
        augmentation(key, (x,))
    with pytest.raises(TypeError, match="one array of images, got dict"):
        augmentation(key, ({"x": x}, labels))
