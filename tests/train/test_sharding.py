"""Meshes, path rules and the table of what lies where; on one device, as they need no more."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, equal, network

from fnn import models, optimizers, train
from fnn.train.devices import rules
from fnn.tree import paths

P = jax.sharding.PartitionSpec
SIZES = {"data": 2, "model": 4}


@functools.cache
def gpt_shapes():
    net = models.gpt(64, context=16, layers=3, features=32, heads=4)
    x = jax.ShapeDtypeStruct((8, 16), jnp.int32)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    return {path: leaf.shape for path, leaf in paths(params)}


@pytest.mark.parametrize(
    "written", ["data=1", "data=-1", " data = 1 , model = 1", "fsdp=-1,model=1"]
)
def test_a_mesh_of_one_device(written):
    grid = train.mesh(written)
    assert grid.size == 1
    assert grid.axis_names == tuple(part.split("=")[0].strip() for part in written.split(","))
    assert set(grid.axis_types) == {jax.sharding.AxisType.Auto}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("data=4", "product is the number of devices, 1, got 4"),
        ("data=-1,model=2", "divide the 1 devices, got 2"),
        ("data=-1,model=-1", "one size of -1 at most, got 2"),
        ("rows=1", "of data, fsdp, model; got 'rows=1'"),
        ("data=1,data=1", "each name at most once"),
        ("data", "NAME=SIZE"),
        ("", "NAME=SIZE"),
        ("data=0", "at least 1, or -1 to fill up, got '0'"),
        ("data=two", "got 'two'"),
        ("data=-2", "got '-2'"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(written, message):
    with pytest.raises(ValueError, match=message):
        train.mesh(written)


def test_the_first_rule_that_matches_decides():
    found = rules.resolve(
        [("a/*", P("model")), ("*/w", P(None, "data")), ("*", P())],
        {"a/w": (4, 2), "b/w": (4, 2), "b/b": (3,)},
        SIZES,
    )
    assert found == {"a/w": P("model"), "b/w": P(None, "data"), "b/b": P()}


def test_of_several_specs_the_first_that_fits_is_taken():
    several = [P(("data", "model")), P("model"), P()]
    shapes = {"a": (16,), "b": (12,), "c": (3,)}
    found = rules.resolve([("*", several)], shapes, SIZES)
    assert found == {"a": P(("data", "model")), "b": P("model"), "c": P()}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("a/w", P())], "got none for 'b/w'"),
        ([("c/*", P()), ("*", P())], "got 'c/\\*'; the paths are 'a/w', 'b/w'"),
        ([("*/w", P()), ("a/w", P()), ("*", P())], "'a/w' after others"),
        ([("*", P("rows"))], "a/w: expected axes of the mesh \\(data, model\\)"),
        ([("*", P("model", "model"))], "at most once"),
        ([("a/*", P("model")), ("*", P())], "a/w: expected a size that falls into the 4 parts"),
        ([("*", P(None, None, "data"))], "a/w: expected at most 2 entries"),
        ([("*", [P("model"), P(("model", "data"))])], "the 8 parts"),
        ([("*", rules.trailing(None, None, "data"))], "at least 3 axes"),
        (rules.fully_sharded("fsdp"), "expected an axis of data, model, got 'fsdp'"),
    ],
)
def test_rules_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        rules.resolve(given, {"a/w": (6, 8), "b/w": (8, 8)}, SIZES)


def test_fully_sharded_takes_the_largest_axis_that_divides_and_leaves_the_small():
    shapes = {"a": (8, 32, 3), "b": (6, 5), "c": (7, 9), "d": (2,), "e": ()}
    found = rules.resolve(rules.fully_sharded(min_size=4), shapes, SIZES)
    expected = {"a": P(None, "data", None), "b": P("data", None), "c": P(), "d": P(), "e": P()}
    assert found == expected


def test_fully_sharded_splits_what_its_base_leaves_whole():
    base = [("w", P(None, "model")), ("*", P())]
    shapes = {"w": (6, 32), "b": (32,), "v": (5, 32)}
    found = rules.resolve(rules.fully_sharded(min_size=1, base=base), shapes, SIZES)
    assert found == {"w": P("data", "model"), "b": P("data"), "v": P(None, "data")}


def test_a_transformer_is_split_by_columns_then_rows():
    found = rules.resolve(rules.tensor_parallel_transformer(), gpt_shapes(), SIZES)
    block = "blocks/block/"
    expected = {
        "attention/body/attend/w_query": P(None, None, "model"),
        "attention/body/attend/b_value": P(None, "model"),
        "attention/body/attend/w_out": P(None, "model", None),
        "attention/body/attend/b_out": P(None),
        "mlp/body/expand/w": P(None, None, "model"),
        "mlp/body/expand/b": P(None, "model"),
        "mlp/body/project/w": P(None, "model", None),
        "mlp/body/project/b": P(None),
        "mlp/body/norm/scale": P(),
    }
    for path, spec in expected.items():
        assert names(found[block + path]) == names(spec)
    assert found["embed/table"] == P("model", None)
    assert found["logits/w"] == P(None, "model")


def names(spec):
    return [entry for entry in spec if entry is not None]


def test_tables_that_the_mesh_does_not_divide_stay_whole():
    shapes = {**gpt_shapes(), "embed/table": (65, 32), "logits/w": (32, 65)}
    found = rules.resolve(rules.tensor_parallel_transformer(), shapes, SIZES)
    assert names(found["embed/table"]) == names(found["logits/w"]) == []


@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_an_mlp_is_split_by_columns_and_rows_in_turn(hidden):
    net = models.mlp((8,) * hidden, 3)
    params, _ = net.init(jax.random.key(0), jnp.zeros((2, 4)))
    shapes = {path: leaf.shape for path, leaf in paths(params)}
    found = rules.resolve(rules.tensor_parallel_mlp(hidden), shapes, SIZES)
    for i in range(1, hidden + 1):
        by_column = i % 2 == 1
        assert tuple(found[f"hidden_{i}/w"]) == ((None, "model") if by_column else ("model", None))
        assert names(found[f"hidden_{i}/b"]) == (["model"] if by_column else [])
    assert names(found["logits/w"]) == (["model"] if hidden % 2 else [])


def test_the_memory_of_a_mix_is_that_of_its_parts():
    mixed = rules.fully_sharded(min_size=1, base=rules.tensor_parallel_transformer())
    found = rules.resolve(mixed, gpt_shapes(), SIZES)
    for path, shape in gpt_shapes().items():
        if len(shape) == 3:
            parts = math.prod(SIZES[name] for name in names(found[path]))
            assert parts == 8, path


def test_slots_follow_their_parameters_and_the_rest_is_whole():
    optimizer = optimizers.adam(0.1)
    state = train.init(network(), optimizer, jax.random.key(0), jnp.zeros((4, 8)))
    given = [("hidden/w", P("data", None)), ("*", P(None))]
    shardings = train.shardings(train.mesh("data=1"), given, state_rules=[("*", P("data"))])
    specs = {leaf.path: leaf for leaf in shardings.placed(state)}
    for path, leaf in specs.items():
        if path.endswith("hidden/w"):
            assert leaf.spec == P("data", None), path
        elif path.startswith("state/"):
            assert leaf.spec == P("data"), path
        elif path.startswith("optimizer/") and not leaf.shape:
            assert leaf.spec == P(), path
            assert leaf.follows is None
    follows = [leaf.follows for leaf in specs.values() if leaf.follows]
    assert sorted(follows) == sorted(2 * [path for path, _ in paths(state.params)])


def test_the_resolution_says_every_parameter_and_the_bytes():
    state = train.init(network(), optimizers.adam(0.1), jax.random.key(0), jnp.zeros((4, 8)))
    text = train.shardings(train.mesh("data=1")).resolution(state)
    assert text.splitlines()[0] == "mesh data=1, batches over data"
    for path, leaf in paths(state.params):
        line = next(line for line in text.splitlines() if f"params/{path} " in line)
        assert str(leaf.shape) in line
        assert line.split()[-1].replace(",", "") == str(leaf.nbytes)
    count = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    assert f"params: {count:,} bytes a device, of {count:,}" in text


def test_training_on_a_mesh_of_one_device_is_training(examples, start):
    net, optimizer = network(), optimizers.adam(0.01)
    shardings = train.shardings(train.mesh("data=1"), train.fully_sharded(min_size=1))
    options = {"epochs": 1, "batch_size": 32, "validation": examples}
    (plain,) = train.fit(net, LOSS, optimizer, start, examples, **options)
    placed = shardings.place(start)
    (there,) = train.fit(net, LOSS, optimizer, placed, examples, shardings=shardings, **options)
    equal(there.train_state, plain.train_state)
    np.testing.assert_array_equal(there.evaluation.loss, plain.evaluation.loss)


def test_axes_that_are_not_the_mesh_s_are_refused():
    with pytest.raises(ValueError, match=r"batch axes of the mesh \(data\), got fsdp"):
        train.shardings(train.mesh("data=1"), batch_axes=("fsdp",))


def abstract(rules=None):
    """For 2 × 4 devices that are not there."""
    axes = (jax.sharding.AxisType.Auto,) * 2
    return train.shardings(jax.sharding.AbstractMesh((2, 4), ("data", "model"), axes), rules)


def test_an_axis_that_splits_nothing_is_refused():
    state = train.init(network(), optimizers.adam(0.1), jax.random.key(0), jnp.zeros((4, 8)))
    with pytest.raises(ValueError, match="got none for 'model', whose devices"):
        abstract().place(state)


def test_a_batch_that_the_mesh_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"2 devices divide, got shape \(5, 3\) at '0'"):
        abstract().batch((jnp.zeros((5, 3)), jnp.zeros(5)))


def test_the_bytes_of_a_device_are_its_parts():
    state = train.init(
        network(), optimizers.momentum(0.1, 0.9), jax.random.key(0), jnp.zeros((4, 8))
    )
    base = [("hidden/w", P(None, "model")), ("*", P())]
    shardings = abstract(train.fully_sharded(min_size=1, base=base))
    bytes_of = {leaf.path: leaf.bytes for leaf in shardings.placed(state)}
    assert bytes_of["params/hidden/w"] == 8 * 16 * 4 // 8
    assert bytes_of["params/hidden/b"] == 16 * 4 // 2
    assert bytes_of["params/logits/b"] == 3 * 4
    (slot,) = [p for p in bytes_of if p.startswith("optimizer/") and p.endswith("hidden/w")]
    assert bytes_of[slot] == bytes_of["params/hidden/w"]


HLO = """
  %all-gather.1 = f32[64,32]{1,0} all-gather(f32[8,32]{1,0} %p), dimensions={0}, op_name="f/a"
  %all-reduce.2 = (f32[8]{0}, bf16[4,2]{1,0}, pred[]) all-reduce(%x, %y, %z), op_name="f/b"
  %ag = (f32[8]{0}, f32[64]{0}) all-gather-start(f32[8]{0} %p), dimensions={0}
  %agd = f32[64]{0} all-gather-done((f32[8]{0}, f32[64]{0}) %ag)
  %fusion = f32[8]{0} fusion(%all-gather.1), calls=%all-reduce_computation
"""


def test_collectives_are_read_from_the_text():
    found = train.collectives(HLO)
    assert found == [
        train.Collective("all-gather", (("f32", (64, 32)),), "f/a"),
        train.Collective("all-reduce", (("f32", (8,)), ("bf16", (4, 2)), ("pred", ())), "f/b"),
        train.Collective("all-gather", (("f32", (64,)),), ""),
    ]
    assert [c.bytes for c in found] == [64 * 32 * 4, 32 + 16 + 1, 256]
    assert " ".join(train.collectives_table(found).split()) == (
        "all-gather 2 of 2 arrays 8,448 bytes all-reduce 1 of 3 arrays 49 bytes"
    )
    assert train.collectives_table([]).strip() == "none"
