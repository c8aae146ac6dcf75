"""The sizes that a model's docstring states: refused by name, when it is built or when x comes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import models
from fnn.layer import map_layers
from fnn.layers import learned_positions

SMALL_GPT = {"context": 4, "layers": 1, "features": 4, "heads": 2}
SMALL_VIT = {"image": (4, 4), "patch": 2, "layers": 1, "features": 4, "heads": 2}
BUILDS = {
    "autoencoder": (partial(models.autoencoder, 4, 2), ["inputs", "code", "features"]),
    "char_lstm": (partial(models.char_lstm, 5), ["vocabulary", "features", "layers"]),
    "convnet": (partial(models.convnet, 3), ["classes", "channels", "features"]),
    "gpt": (
        partial(models.gpt, 5),
        ["vocabulary", "context", "layers", "features", "heads", "kv_heads", "expansion"],
    ),
    "lenet": (models.lenet, ["classes"]),
    "linear_classifier": (partial(models.linear_classifier, 3), ["classes"]),
    "mlp": (partial(models.mlp, (4,), 3), ["features", "classes"]),
    "resnet": (models.resnet, ["classes", "depth", "width"]),
    "transformer_block": (
        partial(models.transformer_block, 4, 2),
        ["features", "heads", "kv_heads", "expansion"],
    ),
    "vit": (
        partial(models.vit, 3),
        ["classes", "image", "patch", "layers", "features", "heads", "expansion"],
    ),
}
POSITIONAL = {
    "autoencoder": ["inputs", "code"],
    "char_lstm": ["vocabulary"],
    "convnet": ["classes"],
    "gpt": ["vocabulary"],
    "linear_classifier": ["classes"],
    "mlp": ["features", "classes"],
    "transformer_block": ["features", "heads"],
    "vit": ["classes"],
}
SEVERAL = {("autoencoder", "features"), ("convnet", "channels"), ("mlp", "features")}


def built(model, count, value):
    """The model with one of its counts replaced."""
    build = BUILDS[model][0]
    if (model, count) in SEVERAL:
        value = (3, value)
    if (model, count) == ("vit", "image"):
        value = (7, value)
    places = POSITIONAL.get(model, [])
    if count not in places:
        return build(**{count: value})
    arguments = list(build.args)
    arguments[places.index(count)] = value
    return build.func(*arguments, **build.keywords)


@pytest.mark.parametrize(
    ("model", "count"),
    [(model, count) for model, (_, counts) in BUILDS.items() for count in counts],
)
def test_a_count_below_one_is_refused_when_built(model, count):
    for value in (0, -7):
        with pytest.raises(ValueError, match=rf"^{model}: expected .*{count}.* got .*{value}"):
            built(model, count, value)
    for value in (2.5, "7", True):
        with pytest.raises(TypeError, match=rf"^{model}: expected .*{count}.* got .*{value!r}"):
            built(model, count, value)
    right = {"image": 14, "kv_heads": 2, "heads": 2, "depth": 8}
    built(model, count, np.int64(right.get(count, 4)))


SEQUENCES = pytest.mark.parametrize(
    ("build", "widths", "x"),
    [
        (lambda w: models.autoencoder(4, 2, features=w), (3, 5), (1, 4)),
        (lambda w: models.convnet(3, channels=w, features=2), (2, 3), (1, 4, 4, 1)),
        (lambda w: models.mlp(w, 3), (4, 5), (1, 2)),
        (lambda w: models.vit(3, **SMALL_VIT | {"image": w}), (4, 2), (1, 4, 2, 1)),
    ],
    ids=["autoencoder", "convnet", "mlp", "vit"],
)


@SEQUENCES
def test_widths_without_an_order_are_refused(build, widths, x, key):
    del x, key
    for unordered in (set(widths), dict.fromkeys(widths)):
        with pytest.raises(TypeError, match=r"to be a sequence of ints, got \{"):
            build(unordered)


@SEQUENCES
def test_widths_that_can_be_read_only_once_are_those_of_a_tuple(build, widths, x, key):
    x = jax.ShapeDtypeStruct(x, jnp.float32)
    expected = jax.eval_shape(build(widths).init, key, x)
    for once in (iter(widths), (w for w in widths), map(int, widths), list(widths)):
        assert jax.eval_shape(build(once).init, key, x) == expected


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.transformer_block(8, 3), "a multiple of the heads, got 8 features and 3"),
        (
            lambda: models.transformer_block(8, 4, kv_heads=3),
            "heads that are a multiple of kv_heads, got 4 heads and kv_heads 3",
        ),
        (
            lambda: models.transformer_block(6, 2, rotary_base=10.0),
            "an even number of features a head to turn, got 3",
        ),
        (lambda: models.gpt(5, features=8, heads=3), "^gpt: .*a multiple of the heads, got 8"),
        (
            lambda: models.gpt(5, heads=4, kv_heads=3),
            "^gpt: .*kv_heads, got 4 heads and kv_heads 3",
        ),
        (lambda: models.vit(5, features=8, heads=3), "^vit: .*a multiple of the heads, got 8"),
        (lambda: models.vit(5, image=(14, 15)), r"^vit: .*whole patches of 7, got \(14, 15\)"),
        (
            lambda: models.vit(5, image=(14,)),
            r"^vit: expected image \(height, width\), got \(14,\)",
        ),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused_when_built(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# Each network, an x that it takes, and ones that it does not, with what is said of them.
INPUTS = {
    "autoencoder": (
        lambda: models.autoencoder(6, 2, features=(3,)),
        (2, 3, 2),
        {
            (2, 5): r"x of shape \(N, …\) with 6 numbers an example, got \(2, 5\)",
            (6,): r"with 6 numbers an example, got \(6,\)",
            (): r"with 6 numbers an example, got \(\)",
        },
    ),
    "char_lstm": (
        lambda: models.char_lstm(5, features=2, layers=1),
        (2, 3),
        {(3,): r"ids of shape \(N, T\), got \(3,\)", (2, 3, 2): r"\(N, T\), got \(2, 3, 2\)"},
    ),
    "convnet": (
        lambda: models.convnet(3, channels=(2, 2), features=3),
        (2, 5, 4, 1),
        {
            (2, 3, 4, 1): r"with H and W of at least 4 for 2 poolings, got \(2, 3, 4, 1\)",
            (2, 4, 4): r"x of shape \(N, H, W, C\) .* got \(2, 4, 4\)",
        },
    ),
    "gpt": (
        lambda: models.gpt(5, **SMALL_GPT),
        (2, 4),
        {
            (2, 5): r"ids of shape \(N, T\) with T <= 4, got \(2, 5\)",
            (4,): r"ids of shape \(N, T\) with T <= 4, got \(4,\)",
        },
    ),
    "gpt, rotary": (
        lambda: models.gpt(5, **SMALL_GPT, rotary_base=10.0),
        (2, 9),
        {(4,): r"ids of shape \(N, T\), got \(4,\)"},
    ),
    "lenet": (
        models.lenet,
        (1, 12, 16, 1),
        {
            (1, 11, 16, 1): r"of at least 16×16 pixels with C1's padding, got \(1, 11, 16, 1\)",
            (1, 28, 28): r"x of shape \(N, H, W, C\) .* got \(1, 28, 28\)",
        },
    ),
    "lenet, valid": (
        lambda: models.lenet(padding="VALID"),
        (1, 16, 17, 1),
        {(1, 16, 15, 1): "of at least 16×16 pixels", (1, 3, 16, 1): "of at least 16×16 pixels"},
    ),
    "lenet, same": (
        lambda: models.lenet(padding="SAME"),
        (1, 12, 12, 1),
        {(1, 12, 11, 1): "of at least 16×16 pixels"},
    ),
    "lenet, uneven": (
        lambda: models.lenet(padding=((0, 1), (2, 0))),
        (1, 15, 14, 1),
        {(1, 14, 14, 1): "of at least 16×16 pixels", (1, 15, 13, 1): "of at least 16×16 pixels"},
    ),
    "linear_classifier": (
        lambda: models.linear_classifier(3),
        (2, 2, 2),
        {(): r"x of shape \(N, …\) .* got \(\)", (2, 0, 2): "a number an example at least"},
    ),
    "mlp": (
        lambda: models.mlp((4,), 3),
        (2, 2, 2),
        {
            (): r"x of shape \(N, …\) .* got \(\)",
            (2, 0): r"a number an example at least, got \(2, 0\)",
        },
    ),
    "resnet": (
        lambda: models.resnet(3, depth=8, width=2),
        (2, 3, 3, 1),
        {
            (2, 3, 3): r"x of shape \(N, H, W, C\) .* got \(2, 3, 3\)",
            (2, 0, 3, 1): r"at least one pixel, got \(2, 0, 3, 1\)",
        },
    ),
    "transformer_block": (
        lambda: models.transformer_block(4, 2),
        (2, 3, 4),
        {
            (2, 3, 6): r"x of shape \(N, T, 4\), got \(2, 3, 6\)",
            (3, 4): r"x of shape \(N, T, 4\), got \(3, 4\)",
        },
    ),
    "vit": (
        lambda: models.vit(3, **SMALL_VIT),
        (2, 4, 4, 1),
        {
            (2, 2, 2, 1): r"x of shape \(N, 4, 4, C\), got \(2, 2, 2, 1\)",
            (2, 8, 2, 1): r"x of shape \(N, 4, 4, C\), got \(2, 8, 2, 1\)",
            (2, 4, 4): r"x of shape \(N, 4, 4, C\), got \(2, 4, 4\)",
        },
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_another_size_of_x_is_refused_in_every_pass(name, key):
    build, right, wrong = INPUTS[name]
    net, model = build(), name.partition(",")[0]
    dtype = jnp.int32 if model in ("char_lstm", "gpt") else jnp.float32
    x = jax.ShapeDtypeStruct(right, dtype)
    params, state = jax.eval_shape(net.init, key, x)
    jax.eval_shape(net.forward, params, state, x, key)
    jax.eval_shape(net.predict, params, state, x)
    for shape, message in wrong.items():
        x = jax.ShapeDtypeStruct(shape, dtype)
        for function, arguments in (
            (net.init, (key, x)),
            (net.forward, (params, state, x, key)),
            (net.predict, (params, state, x)),
        ):
            with pytest.raises(ValueError, match=rf"^{model}: expected .*{message}"):
                jax.eval_shape(function, *arguments)


def test_what_is_no_array_is_refused(key):
    net = models.mlp((4,), 3)
    with pytest.raises(TypeError, match=r"mlp: expected one array for x, got \("):
        net.init(key, (np.zeros((2, 3)), np.zeros((2, 3))))


def test_the_parts_are_those_of_the_chain_and_can_be_mapped(key):
    """What looks at x has no name, no cache and no parameters of its own."""
    net = models.mlp((4,), 3)
    seen = []
    again = map_layers(lambda path, leaf: seen.append(path) or leaf, net)
    assert seen == list(net.parts) == ["flatten", "hidden_1", "act_1", "logits"]
    assert net.name == again.name == "chain"
    x = np.ones((2, 3), np.float32)
    params, state = net.init(key, x)
    np.testing.assert_array_equal(net.predict(params, state, x), again.predict(params, state, x))


def test_other_parts_may_take_another_size(key):
    """Who puts a longer table into a model knows what it takes; the table still looks for itself."""

    def longer(path, leaf):
        return learned_positions(8) if path == "positions" else leaf

    net = map_layers(longer, models.gpt(5, **SMALL_GPT))
    for time in (5, 8):
        x = jax.ShapeDtypeStruct((2, time), jnp.int32)
        params, state = jax.eval_shape(net.init, key, x)
        assert jax.eval_shape(net.predict, params, state, x).shape == (2, time, 5)
    x = jax.ShapeDtypeStruct((2, 9), jnp.int32)
    with pytest.raises(ValueError, match=r"^learned_positions: .* T <= 8, got \(2, 9, 4\)"):
        jax.eval_shape(net.predict, params, state, x)
