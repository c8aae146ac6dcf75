"""What holds for every augmentation: keys, shapes, dtypes, settings that change nothing, transforms.

Compiling is what costs here, so that all rows of the table are one program wherever that can be.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmentations import ROWS, batch

from fnn import augment

SEED = 3


def drawn(**kwargs):
    """The same images for every row, of three channels and of one."""
    return {c: batch(np.random.default_rng(SEED), channels=c, **kwargs) for c in (1, 3)}


@functools.cache
def program():
    """Every row, and every row at the settings that change nothing."""

    def run(key, given):
        moved = {name: row.build()(key, given[row.channels]) for name, row in ROWS.items()}
        still = {
            name: row.still()(key, given[row.channels])
            for name, row in ROWS.items()
            if row.still is not None
        }
        return moved, still

    return jax.jit(run)


@functools.cache
def results(seed):
    return jax.device_get(program()(jax.random.key(seed), drawn(weights=True)))


@pytest.fixture(params=ROWS, ids=str)
def name(request):
    return request.param


def test_every_augmentation_has_a_row():
    public = {
        name
        for name, function in vars(augment).items()
        if inspect.isfunction(function)
        and inspect.signature(function).return_annotation == augment.Augmentation
    }
    assert public - {"identity"} == {name.split()[0] for name in ROWS}


def test_the_key_alone_decides(name):
    first = results(0)[0][name]
    results.cache_clear()
    for a, b in zip(first, results(0)[0][name], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], results(1)[0][name][0])


def test_shapes_dtypes_labels_and_weights_stay(name):
    row, out = ROWS[name], results(0)[0][name]
    given = drawn(weights=True)[row.channels]
    assert len(out) == 3
    assert (out[0].shape, out[0].dtype) == (given[0].shape, given[0].dtype)
    assert np.isfinite(out[0]).all()
    if row.soft:
        assert (out[1].shape, out[1].dtype) == ((6, 5), np.float32)
        assert (out[2].shape, out[2].dtype) == ((6,), np.float32)
    else:
        for a, b in zip(out[1:], given[1:], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_settings_that_change_nothing_keep_every_bit(name):
    row = ROWS[name]
    if row.still is None:
        pytest.skip("no setting leaves all images as they are")
    given, out = drawn(weights=True)[row.channels], results(0)[1][name]
    np.testing.assert_array_equal(out[0], given[0])
    np.testing.assert_array_equal(out[1], np.eye(5)[given[1]] if row.soft else given[1])
    np.testing.assert_array_equal(out[2], given[2])


def test_one_image_none_and_other_sizes_and_dtypes_go_through(name, key):
    row = ROWS[name]
    dtypes = (jnp.float32, jnp.bfloat16, jnp.float16, *([jnp.uint8] if row.takes_bytes else []))
    shapes = [(1, 7, 9), (0, 7, 9), (3, 8, 3), *([] if "reflect" in name else [(2, 1, 4)])]
    for dtype in dtypes:
        for shape in shapes:
            x = jax.ShapeDtypeStruct((*shape, row.channels), dtype)
            labels = jax.ShapeDtypeStruct(shape[:1], jnp.int32)
            out = jax.eval_shape(lambda x, t: row.build()(key, (x, t)), x, labels)[0]
            assert (out.shape, out.dtype) == (x.shape, dtype)
    if not row.takes_bytes:
        with pytest.raises(TypeError, match="floating dtype, got uint8"):
            row.build()(
                key, batch(np.random.default_rng(0), 1, dtype=np.uint8, channels=row.channels)
            )


def test_what_is_no_batch_of_images_is_refused(name, key, rng):
    augmentation = ROWS[name].build()
    x, labels = batch(rng, channels=ROWS[name].channels)
    with pytest.raises(ValueError, match=r"shape \(N, H, W, C\), got \(6, 7, 9\)"):
        augmentation(key, (x[..., 0], labels))
    with pytest.raises(ValueError, match="got 1 entries"):
        augmentation(key, (x,))
    with pytest.raises(TypeError, match="one array of images, got dict"):
        augmentation(key, ({"x": x}, labels))


@pytest.mark.slow
def test_examples_draw_for_themselves_whatever_the_size_of_the_batch():
    """Of images that are alike, each place makes another one; the first of six is that of one alone."""

    @jax.jit
    def run(key, given):
        many = {
            c: jax.tree.map(lambda a: jnp.repeat(a[:1], 6, axis=0), b) for c, b in given.items()
        }
        one = {c: jax.tree.map(lambda a: a[:1], b) for c, b in given.items()}
        return [
            {n: row.build()(key, g[row.channels])[0] for n, row in ROWS.items() if row.alone}
            for g in (many, one)
        ]

    many, one = run(jax.random.key(SEED), drawn())
    for name, x in many.items():
        np.testing.assert_allclose(x[:1], one[name], atol=2e-6)
        assert len(np.unique(np.asarray(x).reshape(6, -1), axis=0)) > 1, name


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, jnp.bfloat16, jnp.float16])
def test_narrow_images_become_what_wide_ones_do(dtype):
    """Of bytes to half a step, of low precision to a few units in the last place."""
    whole = dtype is np.uint8

    @jax.jit
    def run(key, given):
        given = {c: (x.astype(dtype), labels) for c, (x, labels) in given.items()}
        wide = {c: (x.astype(jnp.float32), labels) for c, (x, labels) in given.items()}
        return [
            {
                n: row.build()(key, g[row.channels])[0]
                for n, row in ROWS.items()
                if row.takes_bytes or not whole
            }
            for g in (given, wide)
        ]

    narrow, wide = run(jax.random.key(SEED), drawn(**({"dtype": np.uint8} if whole else {})))
    for name, x in narrow.items():
        assert x.dtype == dtype
        x, y = (np.asarray(a.astype(jnp.float32)) for a in (x, wide[name]))
        np.testing.assert_allclose(x, y, atol=0.501 if whole else 0.02, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["affine", "color_jitter", "mixup", "cutmix", "sometimes"])
def test_it_is_mapped_scanned_and_run_outside_of_jit(name):
    row = ROWS[name]
    augmentation, given = row.build(), drawn()[row.channels]
    keys = jax.random.split(jax.random.key(SEED), 2)
    mapped = jax.jit(jax.vmap(augmentation, in_axes=(0, None)))(keys, given)
    scanned = jax.jit(
        lambda: jax.lax.scan(lambda _, k: (None, augmentation(k, given)), None, keys)
    )()
    for i in range(2):
        outside = augmentation(keys[i], given)
        for a, b, c in zip(mapped, scanned[1], outside, strict=True):
            np.testing.assert_allclose(a[i], c, atol=2e-6)
            np.testing.assert_allclose(b[i], c, atol=2e-6)
