"""What is said to be kept against the caches of real passes; what remat saves against doing it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import CASES
from tables import containers

from fnn import chain, layers, losses, models, residual
from fnn.compose import concatenate, remat, repeat
from fnn.diagnostics import memory, remat_at, summary
from fnn.diagnostics.kept import bytes_text, kept_by_layers, kept_bytes, total_bytes

LOSS = losses.softmax_cross_entropy()
DROPPING = residual(
    chain(
        norm=layers.layer_norm(),
        expand=layers.linear(4),
        drop=layers.dropout(0.5),
        act=layers.sigmoid(),
    )
)
NETS = {name: (case.net, case.x) for name, case in CASES.items()} | {
    "remat": (chain(a=layers.linear(4), b=repeat(remat(DROPPING), 3)), np.zeros((6, 4))),
    "leaf in remat": (chain(a=layers.sigmoid(), b=remat(layers.gelu())), np.zeros((6, 4))),
    "tied": (
        models.gpt(7, context=6, layers=2, features=8, heads=2, looped=False, tied=True),
        np.zeros((2, 6), np.int32),
    ),
}


def shapes(net, x):
    x = jnp.asarray(x, jnp.int32 if np.issubdtype(x.dtype, np.integer) else jnp.float32)
    key = jax.random.key(0)
    return *jax.eval_shape(net.init, key, x), x, key


def of_shapes(net, x):
    """What the whole cache of a net takes."""
    return kept_bytes(lambda *given: net.forward(*given)[2], *shapes(net, x))


def bytes_of_arrays(tree, there=()):
    """Of real arrays, each once."""
    ids = {id(leaf) for leaf in there}
    return sum({id(a): a.nbytes for a in jax.tree.leaves(tree) if id(a) not in ids}.values())


def looked_at_shapes(net, params, state, x, key):
    """The rows with a loss that takes any tree."""
    loss = losses.Loss("any", lambda y, target: (target, ()), lambda cache, d: None)
    return memory(net, loss, params, state, x, jax.ShapeDtypeStruct((1,), "float32"), key).rows


def looked_at(net, x, **options):
    params, state, x, key = shapes(net, x)
    target = jax.ShapeDtypeStruct(jax.eval_shape(net.predict, params, state, x).shape[:-1], "int32")
    return memory(net, LOSS, params, state, x, target, key, **options)


@pytest.mark.parametrize("name", NETS)
def test_predicted_bytes_are_those_of_a_real_cache(name):
    net, x = NETS[name]
    x, key = shapes(net, x)[2:]
    params, state = net.init(key, x)
    cache = net.forward(params, state, x, key)[2]
    predicted = kept_by_layers(net, params, state, x, key)[0].labels
    known = jax.tree.leaves((params, state, x, key))
    assert total_bytes(predicted) == bytes_of_arrays(cache, known) > 0


@pytest.mark.parametrize(
    "name", ["repeated", "remat", pytest.param("tied", marks=pytest.mark.slow)]
)
def test_what_remat_saves_is_what_it_saves(name):
    net, x = NETS[name]
    before = of_shapes(net, x)
    rows = looked_at(net, x).rows
    assert len(rows) >= 4
    for row in rows:
        without = of_shapes(remat_at(net, [row.path]), x)
        assert row.saves == before - without, row.path


@pytest.mark.slow
@pytest.mark.parametrize("name", containers.LAYERS)
def test_every_container_keeps_and_saves_what_is_said(name, rng):
    row = containers.LAYERS[name]
    net, key = row.build(), jax.random.key(0)
    x = jax.tree.map(jnp.asarray, row.draw(rng))
    given = (*jax.eval_shape(net.init, key, x), x, key)
    before = kept_bytes(lambda *given: net.forward(*given)[2], *given)
    entries = kept_by_layers(net, *given)
    assert total_bytes(entries[0].labels) == before == summary(net, x).total.cache
    rows = {row.path: row for row in looked_at_shapes(net, *given)}
    assert [entry.path for entry in entries] == list(rows)
    for path, row in rows.items():
        wrapped = remat_at(net, [path])
        without = kept_bytes(lambda *given, net=wrapped: net.forward(*given)[2], *given)
        assert row.saves == before - without, path


def test_in_remat_each_layer_keeps_its_input():
    net = chain(a=layers.linear(4), b=layers.sigmoid(), c=layers.layer_norm(), d=layers.gelu())
    x = np.zeros((5, 3), np.float32)
    everything = remat_at(net, list(net.parts))
    cache = everything.forward(*everything.init(jax.random.key(0), x), x, None)[2]
    assert [cache[name].x.shape for name in "abcd"] == [(5, 3), (5, 4), (5, 4), (5, 4)]
    # a's is the batch, the others' are what the layers before them gave; their keys are 8 bytes.
    assert of_shapes(everything, x) == 3 * 5 * 4 * 4 + 4 * 8


def test_what_another_cache_holds_too_is_not_saved():
    net = chain(first=layers.linear(4), act=layers.sigmoid(), out=layers.linear(2))
    rows = {row.path: row for row in looked_at(net, np.zeros((6, 4))).rows}
    # act's y is out's x, and stays; its own x would be kept besides, and its key.
    assert (rows["act"].cache, rows["act"].saves) == (6 * 4 * 4, -(6 * 4 * 4) - 8)
    assert (rows["out"].cache, rows["out"].saves) == (6 * 4 * 4, -8)


def test_fields_are_named():
    rows = {row.path: row for row in looked_at(*NETS["normed"]).rows}
    assert dict(rows["logits"].fields) == {"x": 6 * 48 * 4}
    assert rows["act"].fields == (("passed", 6 * 48),)
    assert rows["conv"].fields == ()  # its x is the batch
    assert "passed 288 B" in str(looked_at(*NETS["normed"]))


def test_the_table_names_the_largest_fields_flush_left():
    found = looked_at(*NETS["normed"])
    row = found.rows[1]._replace(leaf=True, fields=(("a", 1), ("b", 3), ("c", 2), ("d", 0)))
    head, _, *lines = str(found._replace(rows=(*found.rows, row))).splitlines()
    at = head.index("holds")
    held = {line[:at].split()[0]: line[at:] for line in lines if len(line) > at}
    assert held["logits"] == "x 1.12 KiB"
    assert held[row.path] == "b 3 B, c 2 B, 2 more"
    assert max(map(len, lines[: len(found.rows)])) < 130


def test_rebuilt_and_flops_of_a_loop():
    rows = {row.path: row for row in looked_at(*NETS["repeated"]).rows}
    loop, block, whole = rows["blocks"], rows["blocks/block"], rows[""]
    assert loop.rebuilt == loop.cache == 3 * block.rebuilt
    assert block.cache == loop.cache
    expand = rows["blocks/block/body/expand"]
    assert expand.flops == 3 * (2 * 12 * 4 * 4 + 12 * 4)
    inside = sum(rows[f"blocks/block/body/{name}"].flops for name in ("norm", "expand", "act"))
    assert block.flops == inside < whole.flops
    assert 0.2 < whole.share < 0.5  # forward is about a third of a step
    assert block.share == pytest.approx(block.flops * whole.share / whole.flops)


def test_advice_has_the_most_bytes_for_an_operation_first():
    cheap = chain(*(layers.sigmoid() for _ in range(6)))
    dear = chain(layers.linear(64), layers.sigmoid(), layers.linear(8), layers.sigmoid())
    # What the last container rebuilds is there at the end of forward anyway: it lowers no peak.
    net = chain(dear=dear, cheap=cheap, cheap_2=cheap, last=cheap, out=layers.linear(8))
    found = looked_at(net, np.zeros((32, 8)))
    first = [row.path for row in found.first]
    assert first == ["cheap", "cheap_2", "dear"]
    ratios = [row.saved_per_flop for row in found.first]
    assert ratios == sorted(ratios, reverse=True)
    assert found.advice.startswith("remat first: cheap saves 5.")
    assert str(found).splitlines()[-1] == found.advice


def test_the_peak_falls_by_what_the_larger_of_two_moments_needs():
    # Sigmoids of 32 bytes a call; a's key is 8 bytes, and its input is the batch.
    three, two = (chain(*(layers.sigmoid() for _ in range(count))) for count in (3, 2))
    rows = {row.path: row for row in looked_at(chain(a=three, b=two), np.zeros((2, 4))).rows}
    assert rows[""].cache == 5 * 32
    # After forward there are the 64 of b and the key; then these are gone, and 96 are rebuilt.
    assert (rows["a"].saves, rows["a"].peak) == (96 - 8, 5 * 32 - (96 + 8))
    # Of b's rebuilding a's 96 are not gone yet, so nothing is won.
    assert (rows["b"].saves, rows["b"].peak) == (64 - 8, 0)
    # In a loop of four rounds, one round is rebuilt while the inputs and keys of all are kept.
    rows = {row.path: row for row in looked_at(repeat(three, 4), np.zeros((2, 4))).rows}
    assert rows[""].cache == 4 * 3 * 32
    assert rows["block"].rebuilt == 3 * 32
    assert rows["block"].peak == rows["block"].saves - 3 * 32
    # What b keeps of the other rounds is there while a is rebuilt.
    net = repeat(chain(a=three, b=two), 4)
    rows = {row.path: row for row in looked_at(net, np.zeros((2, 4))).rows}
    assert rows["block/a"].saves == 4 * (96 - 32 - 8)
    assert rows["block/a"].peak == rows["block/a"].saves - 96
    # What b keeps is what the layer before both keeps too, and stays until that one's backward.
    net = chain(before=layers.sigmoid(), both=concatenate(a=three, b=layers.linear(4)))
    rows = {row.path: row for row in looked_at(net, np.zeros((2, 4))).rows}
    assert (rows["both/a"].saves, rows["both/a"].peak) == (96 - 8, 0)


def test_advice_rebuilds_a_part_only():
    blocks = looked_at(*NETS["remat"])
    assert [row.path for row in blocks.rows] == ["", "a", "b", "b/block"]  # within remat, nothing
    assert "b/block" not in [row.path for row in blocks.first]
    several = looked_at(chain(a=DROPPING, b=DROPPING, c=DROPPING), np.zeros((6, 4)))
    assert {"a", "a/body"} < {row.path for row in several.rows if row.saves > 0}
    assert [row.path for row in several.first] == ["a", "b"]  # none within another, nor the last
    alone = looked_at(chain(DROPPING), np.zeros((6, 4)))
    assert all(row.leaf for row in alone.first)  # the one container would rebuild everything
    assert alone.rows[0].peak == alone.rows[1].peak == 0 < alone.rows[1].saves
    flat = looked_at(chain(layers.linear(3), layers.relu()), np.zeros((6, 4)))
    assert flat.first == ()
    assert "nothing to save" in flat.advice


def test_xla_needs_less_where_blocks_are_in_remat():
    # The cache of eight blocks is far larger than all else in the program.
    block = residual(chain(layers.linear(64), layers.gelu(), layers.linear(64), layers.gelu()))
    net = chain(blocks=repeat(block, 8), out=layers.linear(2))
    found = looked_at(net, np.zeros((256, 64)), compiled=True)
    by_hand, in_remat, autodiff = found.compiled
    assert [row.name for row in found.compiled] == [
        *("by hand", "by hand, all in remat", "jax.grad")
    ]
    assert by_hand.temporary > found.rows[0].cache
    assert in_remat.temporary < 0.6 * by_hand.temporary
    assert autodiff.arguments == by_hand.arguments
    parameters = 8 * 2 * (64 * 64 + 64) + 64 * 2 + 2
    assert autodiff.outputs == pytest.approx(4 * parameters, rel=0.01)
    assert str(found).splitlines()[-1].startswith("jax.grad")
    assert looked_at(net, np.zeros((2, 64))).compiled == ()


def test_the_loss_keeps_what_it_keeps():
    prediction, target = jnp.zeros((6, 3)), jnp.zeros(6, jnp.int32)
    cache = LOSS.forward(prediction, target)[1]
    real = bytes_of_arrays(cache, [prediction, target])
    net = chain(layers.linear(3))
    assert looked_at(net, np.zeros((6, 4))).loss == real > 0


def test_what_remat_at_refuses():
    net = chain(a=layers.linear(4))
    with pytest.raises(ValueError, match=r"expected paths of \['', 'a'\], got \['b'\]"):
        remat_at(net, ["b"])
    with pytest.raises(ValueError, match=r"a: expected a container with `rebuild`"):
        remat_at(chain(a=net._replace(rebuild=None)), ["a/a"])
    with pytest.raises(ValueError, match=r"a: expected a container with `rebuild`"):
        looked_at(chain(a=net._replace(rebuild=None)), np.zeros((6, 4)))


def test_bytes_are_three_digits_and_a_unit():
    written = [bytes_text(n) for n in (0, 999, 1000, 1536, 5 * 2**20, 12_345_678_901, -2048)]
    assert written == ["0 B", "999 B", "0.977 KiB", "1.50 KiB", "5.00 MiB", "11.5 GiB", "-2.00 KiB"]
