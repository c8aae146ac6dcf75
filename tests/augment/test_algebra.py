"""Composition, chance and single examples: keys by name, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import augment
from fnn.augment.augmentation import example_keys, uniforms

SHAPE = (50, 2, 2, 1)


def adding(scale):
    """An augmentation that adds one number to an image."""
    return augment.per_example("adding", lambda key, image: image + scale * uniforms(key, 1)[0])


def run(augmentation, key, x=None):
    x = jnp.zeros(SHAPE) if x is None else x
    return np.asarray(jax.jit(augmentation)(key, (x, ()))[0])[:, 0, 0, 0]


def test_each_example_draws_with_the_key_of_its_place(key):
    drawn = run(adding(1.0), key)
    expected = [
        float(jax.random.uniform(jax.random.fold_in(key, i), (1,), jnp.float32)[0])
        for i in range(3)
    ]
    np.testing.assert_array_equal(drawn[:3], np.float32(expected))
    assert len(set(drawn)) == len(drawn)
    np.testing.assert_array_equal(
        jax.random.key_data(example_keys(key, 3)), jax.random.key_data(example_keys(key, 5))[:3]
    )


@pytest.mark.slow
def test_what_is_put_in_leaves_the_draws_of_the_others(key):
    alone = run(augment.compose(a=adding(1.0)), key)
    both = run(augment.compose(b=adding(8.0), a=adding(1.0)), key)
    np.testing.assert_allclose((both - run(augment.compose(b=adding(8.0)), key)), alone, atol=1e-5)
    unnamed = run(augment.compose(adding(1.0), augment.identity(), adding(8.0)), key)
    named = run(augment.compose(adding_1=adding(1.0), adding_2=adding(8.0)), key)
    np.testing.assert_array_equal(unnamed, named)
    assert not np.allclose(alone, run(augment.compose(c=adding(1.0)), key))


def test_parts_act_in_their_order(key):
    double = augment.per_example("double", lambda key, image: 2 * image)
    one_more = augment.per_example("one_more", lambda key, image: image + 1)
    assert (run(augment.compose(double, one_more), key) == 1).all()
    assert (run(augment.compose(one_more, double), key) == 2).all()


def test_nested_ones_draw_apart(key):
    nested = augment.compose(a=adding(1.0), b=augment.compose(a=adding(-1.0)))
    assert np.abs(run(nested, key)).min() > 0


def test_sometimes_selects_examples_and_not_batches(key):
    one_more = augment.per_example("one_more", lambda key, image: image + 1)
    x = jnp.zeros((4000, 1, 1, 1))
    drawn = run(augment.sometimes(0.3, one_more), key, x)
    assert set(np.unique(drawn)) == {0, 1}
    assert abs(drawn.mean() - 0.3) < 4 * np.sqrt(0.21 / 4000)
    runs = (np.diff(drawn) != 0).mean()  # neighbours are independent
    assert abs(runs - 0.42) < 5 * np.sqrt(0.25 / 4000)


def test_the_rest_of_a_batch_is_selected_with_the_image(key):
    """An augmentation may change targets and weights, if it keeps what they are."""

    def marked(key, batch):
        x, target, weights = batch
        return x + 1, {"label": target["label"] + 1}, weights * 2

    x, labels = jnp.zeros((20, 1, 1, 1)), {"label": jnp.zeros((20, 3), jnp.int32)}
    out = jax.jit(augment.sometimes(0.5, marked))(key, (x, labels, jnp.ones(20)))
    chosen = np.asarray(out[0])[:, 0, 0, 0]
    assert 0 < chosen.sum() < 20
    np.testing.assert_array_equal(out[1]["label"], np.repeat(chosen[:, None], 3, axis=1))
    np.testing.assert_array_equal(out[2], 1 + chosen)


def test_an_error_names_the_part(key):
    with pytest.raises(TypeError) as caught:
        augment.compose(colours=augment.color_jitter(0.1))(key, (jnp.zeros(SHAPE, jnp.int32), ()))
    assert "in augmentation colours" in caught.value.__notes__


def test_what_is_no_augmentation_is_refused(key):
    class Nameless:
        def __call__(self, key, batch):
            return batch

    with pytest.raises(TypeError, match=r"compose: expected a function .* got 3"):
        augment.compose(3)
    with pytest.raises(TypeError, match=r"function with a name.*compose\(crop=…\)"):
        augment.compose(Nameless())
    assert augment.compose(nameless=Nameless())(key, (jnp.ones(SHAPE), 3))[1] == 3
    with pytest.raises(TypeError, match="sometimes: expected a function"):
        augment.sometimes(0.5, None)
    with pytest.raises(ValueError, match="sometimes: expected a probability from 0 to 1"):
        augment.sometimes(1.1, augment.identity())
    with pytest.raises(ValueError, match="two parts are called 'identity_1'"):
        augment.compose(augment.identity(), identity_1=augment.identity())
    # Two words with one CRC-32.
    with pytest.raises(ValueError, match="different CRC-32s"):
        augment.compose(plumless=augment.identity(), buckeroo=augment.identity())
    with pytest.raises(ValueError, match="expected a key to augment with, got None"):
        augment.compose(adding(1.0))(None, (jnp.zeros(SHAPE), ()))
