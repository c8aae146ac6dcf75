"""Averages over passes: against loops, over dropout, over augmentation, over crops, in bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import augment, chain, layers, losses, train

KEEP = 0.5


@pytest.fixture(scope="module")
def trained():
    """A network with dropout and batch norm, whose running statistics are not those of a batch."""
    net = chain(
        flat=layers.flatten(),
        norm=layers.batch_norm(),
        drop=layers.dropout(1 - KEEP),
        logits=layers.linear(3),
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4, 6, 1)), jnp.float32)
    params, state = net.init(jax.random.key(0), x)
    _, state, _ = net.forward(params, state, 3 * x + 1, jax.random.key(1))
    return net, params, state, x


def test_mean_and_spread_are_those_of_the_passes(trained):
    net, params, state, x = trained
    key = jax.random.key(2)
    draws = augment.per_example(
        "noise", lambda key, image: image + jax.random.normal(key, (4, 6, 1))
    )
    average = augment.averaged(net, draws=4, augmentation=draws)
    mean, spread = average(params, state, x, key)

    @jax.jit
    def loop(key):
        passes = []
        for p in range(4):
            child = augment.averaging.part_key(jax.random.fold_in(key, p), "augmentation")
            passes.append(jax.nn.softmax(net.predict(params, state, draws(child, (x, ()))[0])))
        return jnp.stack(passes)

    passes = np.asarray(loop(key), np.float64)
    np.testing.assert_allclose(mean, passes.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(spread, passes.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(mean.sum(axis=-1), 1, atol=1e-6)


def test_dropout_is_averaged_and_batch_norm_predicts(trained):
    """For a linear net the mean over masks is the prediction, and the spread has a closed form."""
    net, params, state, x = trained
    average = augment.averaged(net, draws=4000, noise=True, space="logit", at_once=64)
    mean, spread = average(params, state, x, jax.random.key(3))
    hidden = jax.jit(
        lambda: net.parts["norm"].predict(params["norm"], state["norm"], x.reshape(5, -1))
    )()
    w, b = (np.asarray(a, np.float64) for a in params["logits"])
    exact = np.asarray(hidden, np.float64) @ w + b
    variance = (np.asarray(hidden, np.float64) ** 2) @ w**2 * (1 - KEEP) / KEEP
    np.testing.assert_array_less(np.abs(mean - exact), 5 * np.sqrt(variance / 4000) + 1e-6)
    np.testing.assert_allclose(spread**2, variance, rtol=0.2)


@pytest.mark.slow
def test_it_does_not_matter_how_many_run_at_once(trained):
    net, params, state, x = trained
    results = [
        augment.averaged(net, draws=5, noise=True, at_once=n)(params, state, x, jax.random.key(0))
        for n in (1, 3)
    ]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_ten_crops_are_those_of_the_paper(rng):
    x = rng.normal(size=(2, 7, 8, 1)).astype(np.float32)
    h, w = 4, 5
    corners = [(0, 0), (0, 3), (3, 0), (3, 3), (1, 1)]
    crops = [x[:, i : i + h, j : j + w] for i, j in corners]
    views = augment.ten_crop((h, w))
    for view, crop in zip(views, crops + [c[:, :, ::-1] for c in crops], strict=True):
        np.testing.assert_array_equal(view(jnp.asarray(x)), crop)
    same, mirror = augment.mirrored()
    np.testing.assert_array_equal(same(jnp.asarray(x)), x)
    np.testing.assert_array_equal(mirror(jnp.asarray(x)), x[:, :, ::-1])


def test_views_are_averaged_each_with_its_draws():
    net = chain(flat=layers.flatten(), drop=layers.dropout(0.5), logits=layers.linear(2))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 5, 1)), jnp.float32)
    views = augment.ten_crop((4, 4))
    params, state = net.init(jax.random.key(0), views[0](x))
    mean, spread = augment.averaged(net, views=views, space="logit")(params, state, x)
    passes = np.stack([net.predict(params, state, view(x)) for view in views])
    np.testing.assert_allclose(mean, passes.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(spread, passes.std(axis=0), atol=1e-6)
    noisy = augment.averaged(net, views=views, draws=2, noise=True, space="logit")
    key = jax.random.key(1)
    first = noisy(params, state, x, key)
    assert not np.allclose(first.mean, mean)
    np.testing.assert_array_equal(first.mean, noisy(params, state, x, key).mean)


@pytest.mark.slow
def test_its_logarithm_is_a_prediction_for_evaluate(trained):
    net, params, state, x = trained
    labels = jnp.asarray([0, 1, 2, 0, 1])
    average = augment.averaged(net, draws=3, noise=True)
    key = jax.random.key(0)
    averaging = net._replace(predict=lambda p, s, x: jnp.log(average(p, s, x, key).mean))
    loss = losses.softmax_cross_entropy()
    found = train.evaluate(averaging, loss, batch_size=5)(params, state, (x, labels))
    mean = np.asarray(average(params, state, x, key).mean)
    expected = -np.log(mean[np.arange(5), np.asarray(labels)]).mean()
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"draws": 0}, "draws and at_once >= 1"),
        ({"at_once": 0}, "draws and at_once >= 1"),
        ({"draws": 2}, "something random for 2 draws"),
        ({"views": []}, "at least one view"),
        ({"space": "odds"}, "space among"),
    ],
)
def test_options_that_make_no_sense_are_refused(trained, given, message):
    with pytest.raises(ValueError, match=message):
        augment.averaged(trained[0], **given)


def test_passes_that_cannot_be_made_are_refused(trained):
    net, params, state, x = trained
    with pytest.raises(ValueError, match="expected a key to draw with, got None"):
        augment.averaged(net, noise=True)(params, state, x)
    views = [lambda x: x, lambda x: x[:, 1:]]
    with pytest.raises(ValueError, match="views of one shape, got"):
        augment.averaged(net, views=views)(params, state, x)
    with pytest.raises(ValueError, match="hold \\(9, 9\\), got x of"):
        augment.averaged(net, views=augment.ten_crop((9, 9)))(params, state, x)
    with pytest.raises(ValueError, match="ten_crop: expected a size"):
        augment.ten_crop((0, 2))
    mixing = augment.averaged(net, augmentation=augment.mixup(3))
    with pytest.raises(ValueError, match="mixup: expected targets"):
        mixing(params, state, x, jax.random.key(0))
