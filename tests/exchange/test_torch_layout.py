"""Weights from torch, proved by its documented formulas in NumPy, and by torch itself where it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_formulas as formulas
from torch_convnet import convnet, drawn, first_last, forward, norm

from fnn import chain, exchange, layers, models
from fnn.compose.bidirectional import bidirectional


def recurrent(gates, inputs, features, suffix="l0"):
    return {
        f"weight_ih_{suffix}": (gates * features, inputs),
        f"weight_hh_{suffix}": (gates * features, features),
        f"bias_ih_{suffix}": (gates * features,),
        f"bias_hh_{suffix}": (gates * features,),
    }


ATTENTION = {
    "in_proj_weight": (12, 4), "in_proj_bias": (12,), "out_proj.weight": (4, 4), "out_proj.bias": (4,)
}  # fmt: skip


def both_directions(w, x):
    back = formulas.lstm(w, x, "l0_reverse", reverse=True)
    return np.concatenate([formulas.lstm(w, x), back], axis=-1)


# name -> (shapes of torch's weights, its function, our network, the shape of x there)
SUBJECTS = {
    "linear": (
        {"weight": (3, 4), "bias": (3,)},
        formulas.linear,
        lambda: layers.linear(3),
        (2, 5, 4),
    ),
    "convolution": (
        {"weight": (6, 2, 3, 2), "bias": (6,)},
        lambda w, x: formulas.convolution(w, x, 2, 1, 2),
        lambda: layers.convolution(6, (3, 2), stride=2, padding=1, groups=2),
        (2, 4, 6, 5),
    ),
    "depthwise": (
        {"weight": (8, 1, 3, 3), "bias": (8,)},
        lambda w, x: formulas.convolution(w, x, 1, 1, 4),
        lambda: layers.depthwise_convolution(3, multiplier=2, padding=1),
        (2, 4, 4, 4),
    ),
    "transposed": (
        {"weight": (4, 3, 3, 2), "bias": (6,)},
        lambda w, x: formulas.transposed_convolution(w, x, 2, 1, 1, 2),
        lambda: layers.transposed_convolution(
            6, (3, 2), stride=2, padding=1, output_padding=1, groups=2
        ),
        (2, 4, 3, 4),
    ),
    "batch norm": (norm(4), formulas.batch_norm, layers.batch_norm, (2, 4, 3, 3)),
    "layer norm": (
        {"weight": (4,), "bias": (4,)},
        formulas.layer_norm,
        layers.layer_norm,
        (2, 3, 4),
    ),
    "lstm": (recurrent(4, 3, 5), formulas.lstm, lambda: layers.lstm(5), (2, 4, 3)),
    "both ways": (
        recurrent(4, 3, 2) | recurrent(4, 3, 2, "l0_reverse"),
        both_directions,
        lambda: bidirectional(functools.partial(layers.lstm, 2)),
        (2, 4, 3),
    ),
    "gru": (recurrent(3, 3, 5), formulas.gru, lambda: layers.gru(5), (2, 4, 3)),
    "rnn": (recurrent(1, 3, 5), formulas.rnn, lambda: layers.rnn(5), (2, 4, 3)),
    "attention": (
        ATTENTION,
        lambda w, x: formulas.attention(w, x, 2),
        lambda: layers.multi_head_attention(2),
        (2, 3, 4),
    ),
}
QUICK = ("convolution", "transposed", "gru")


def as_written(weights):
    """The same function with what torch has twice in one place: how we write it."""
    same = dict(weights)
    for name, bias in weights.items():
        if name.startswith("bias_hh"):
            other, kept = name.replace("hh", "ih"), np.zeros_like(bias)
            if len(bias) % 3 == 0 and len(bias) % 4:  # of the GRU's candidate, apart
                kept[len(bias) // 3 * 2 :] = bias[len(bias) // 3 * 2 :]
            same[other], same[name] = weights[other] + (bias - kept), kept
        if name == "in_proj_bias":  # of the keys, which cancels
            same[name] = np.concatenate([bias[:4], np.zeros(4), bias[8:]])
    return same


@pytest.mark.parametrize(
    "subject",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SUBJECTS],
)
def test_outputs_are_torch_s_and_weights_come_back(subject, rng):
    shapes, function, make, shape = SUBJECTS[subject]
    weights, x = drawn(shapes, rng), rng.normal(size=shape)
    with jax.enable_x64(True):
        net = make()
        ours = jnp.asarray(first_last(x) if len(shape) == 4 else x)
        found = exchange.from_torch(net, *net.init(jax.random.key(0), ours), weights)
        expected = function(weights, x)
        expected = first_last(expected) if len(shape) == 4 else expected
        y = net.predict(found.params, found.state, ours)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
        back = exchange.to_torch(net, found.params, found.state, names=found.taken)
        assert back.keys() == weights.keys()
        for name, value in as_written(weights).items():
            np.testing.assert_allclose(back[name], value, rtol=1e-15, err_msg=name)
        again = exchange.from_torch(net, found.params, found.state, back)
        jax.tree.map(np.testing.assert_array_equal, again.params, found.params)


def test_a_convnet_with_its_flattened_images(loaded):
    net, params, state, tensors, x = loaded
    options = {"flattened": {"hidden": (3, 2, 4)}}
    found = exchange.from_torch(net, params, state, tensors, **options)
    assert found.ignored == ("1.num_batches_tracked",)
    assert found.taken == {"conv": "0", "norm": "1", "hidden": "4", "logits": "5"}
    output, normal = forward(tensors, x)
    report = exchange.parity(
        net, found.params, found.state, first_last(x), output, {"norm": first_last(normal)}
    )
    assert report.agrees, str(report)
    assert [row.path for row in report.rows] == ["norm", "output"]
    back = exchange.to_torch(net, found.params, found.state, names=found.taken, **options)
    assert {*back, "1.num_batches_tracked"} == tensors.keys()
    for name, value in back.items():
        np.testing.assert_array_equal(value, tensors[name])


def test_another_network_is_refused_with_all_that_differs(loaded):
    net, params, state, tensors, _ = loaded
    wrong = dict(tensors)
    del wrong["5.weight"], wrong["5.bias"]
    wrong["4.weight"] = np.zeros((5, 23), np.float32)
    wrong["1.weight"] = np.zeros(4, np.int32)
    wrong["head.weight"] = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(ValueError, match="torch's layout") as caught:
        exchange.from_torch(net, params, state, wrong)
    said = str(caught.value)
    for line in (
        "missing: logits (linear(3)): weight (3, 5), bias (3,)",
        "hidden <- 4: weight: expected (5, 24), got (5, 23)",
        "norm <- 1: weight: expected floating numbers, got int32",
        "extra: head: weight (2, 2, 2)",
    ):
        assert line in said
    assert exchange.from_torch(
        net, params, state, tensors | {"head.weight": wrong["head.weight"]}, ignore=["head.*"]
    ).ignored == ("1.num_batches_tracked", "head.weight")


def test_names_choose_among_layers_of_one_shape(key, rng):
    net = chain(a=layers.linear(3), b=layers.linear(3))
    params, state = net.init(key, jnp.zeros((1, 3)))
    shapes = {"weight": (3, 3), "bias": (3,)}
    tensors = {
        f"{m}.{n}": v for m in ("out", "into") for n, v in drawn(shapes, rng, np.float32).items()
    }
    in_order = exchange.from_torch(net, params, state, tensors)
    assert in_order.taken == {"a": "out", "b": "into"}
    named = exchange.from_torch(net, params, state, tensors, names={"a": "into"})
    np.testing.assert_array_equal(named.params["a"].w, tensors["into.weight"].T)
    with pytest.raises(ValueError, match=r"'c' is no layer with weights.*'x' is no module"):
        exchange.from_torch(net, params, state, tensors, names={"c": "x"})
    with pytest.raises(ValueError, match="expected names of layers"):
        exchange.to_torch(net, params, state, names={"c": "x"})
    with pytest.raises(ValueError, match=r"'x\.weight' is taken"):
        exchange.to_torch(net, params, state, names={"a": "x", "b": "x"})


def test_sorted_names_are_put_right_for_numbers(key):
    net = chain(*[layers.linear(2) for _ in range(11)])
    params, state = net.init(key, jnp.zeros((1, 2)))
    tensors = {f"{i}.weight": np.full((2, 2), i, np.float32) for i in range(11)}
    tensors |= {f"{i}.bias": np.zeros(2, np.float32) for i in range(11)}
    found = exchange.from_torch(net, params, state, dict(sorted(tensors.items())))
    assert [float(found.params[name].w[0, 0]) for name in net.parts] == list(range(11))


def test_blocks_in_a_loop_and_tied_weights(key):
    """Each block of a `repeat` is a place of its own, and what is shared is held once."""
    net = models.gpt(7, context=4, layers=2, features=4, heads=2, tied=True)
    params, state = net.init(key, jnp.zeros((1, 4), jnp.int32))
    tensors = exchange.to_torch(net, params, state)
    assert tensors["blocks.block.1.attention.body.attend.in_proj_weight"].shape == (12, 4)
    tensors = {name: value + 1 for name, value in tensors.items()}
    tied = tensors | {"lm_head.weight": tensors["embed.weight"]}
    found = exchange.from_torch(net, params, state, tied, ignore=["lm_head.*"])
    names = [n for n, v in exchange.to_torch(net, found.params, found.state).items()
             if not np.array_equal(v, tensors[n])]  # fmt: skip
    assert all(name.endswith("in_proj_bias") for name in names)  # the keys' part is 0


@pytest.mark.parametrize(
    ("layer", "error"),
    [
        (layers.gru(3, reset="before"), TypeError),
        (layers.multi_head_attention(2, kv_heads=1), TypeError),
        (layers.batch_norm(momentum=None), TypeError),
        (layers.maxout(3, 2), TypeError),
    ],
)
def test_layers_that_torch_has_not(layer, error, key):
    x = jnp.zeros((2, 3, 4))
    with pytest.raises(error, match="torch"):
        exchange.to_torch(layer, *layer.init(key, x))


def test_a_flattened_image_of_another_size(loaded):
    net, params, state, tensors, _ = loaded
    with pytest.raises(ValueError, match=r"hidden .*flattened image of \(3, 3, 4\)"):
        exchange.from_torch(net, params, state, tensors, flattened={"hidden": (3, 3, 4)})


def test_torch_itself_agrees(rng, key):
    torch = pytest.importorskip(
        "torch", reason="torch is not installed; its formulas are tested above"
    )
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(24, 5),
        torch.nn.Linear(5, 3),
    ).eval()
    x = rng.normal(size=(2, 2, 3, 2)).astype(np.float32)
    net = convnet()
    tensors = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    found = exchange.from_torch(
        net, *net.init(key, first_last(x)), tensors, flattened={"hidden": (3, 2, 4)}
    )
    with torch.no_grad():
        output = module(torch.tensor(x)).numpy()
    report = exchange.parity(net, found.params, found.state, first_last(x), output, rtol=1e-5)
    assert report.agrees, str(report)


def test_an_image_for_a_layer_that_is_not_there_is_refused():
    net = chain(hidden=layers.linear(3))
    params, state = net.init(jax.random.key(0), jnp.ones((2, 4)))
    tensors = exchange.to_torch(net, params, state)
    there = r"'hiden' is no layer with weights; there are \['hidden'\]"
    with pytest.raises(ValueError, match=there):
        exchange.from_torch(net, params, state, tensors, flattened={"hiden": (2, 2, 1)})
    with pytest.raises(ValueError, match=there):
        exchange.to_torch(net, params, state, flattened={"hiden": (2, 2, 1)})
