"""Saved weights: the way there and back, and every way in which a file can be wrong."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import models
from fnn.train import load_weights, read_metadata, save_weights
from fnn.tree import paths


@pytest.fixture
def network(key):
    net = models.convnet(3, channels=(2,), features=4)
    return net.init(key, jnp.zeros((2, 4, 4, 1)))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "weights.safetensors"


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, p), q in zip(paths(a), jax.tree.leaves(b), strict=True):
        assert (p.shape, p.dtype) == (q.shape, q.dtype), path
        assert np.asarray(p).tobytes() == np.asarray(q).tobytes(), path


def test_there_and_back(network, file):
    params, state = network
    constants = {"mean": np.arange(6, dtype=np.float32).reshape(2, 3)}
    save_weights(file, params, state, {"model": "convnet"}, constants=constants)
    loaded = load_weights(file, shapes(params), shapes(state), constants=shapes(constants))
    same(loaded.params, params)
    same(loaded.state, state)
    same(loaded.constants, constants)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))
    assert read_metadata(file) == {"model": "convnet"}


def test_another_reader_finds_the_paths(network, file):
    from safetensors import safe_open

    params, state = network
    save_weights(file, params, state, {"model": "convnet"})
    with safe_open(file, framework="np") as opened:
        assert opened.metadata()["model"] == "convnet"
        expected = {f"params/{path}" for path, _ in paths(params)}
        expected |= {f"state/{path}" for path, _ in paths(state)}
        assert set(opened.keys()) == expected
        stored = opened.get_tensor("params/block_1/conv_1/w")
    np.testing.assert_array_equal(stored, params["block_1"]["conv_1"].w)


@pytest.mark.parametrize(
    "leaf",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
        np.float32(2.5).reshape(()),
        np.zeros((0, 3), np.float32),
        np.array([1.5, -0.0, np.nan, np.inf], np.float16),
        np.array([True, False]),
        np.array([-3, 7], np.int8),
    ],
    ids=["transposed", "scalar", "empty", "float16", "bool", "int8"],
)
def test_all_kinds_of_leaves(leaf, file):
    save_weights(file, {"a": leaf}, ())
    same(load_weights(file, {"a": leaf}, ()).params, {"a": leaf})


def test_bfloat16(file, rng):
    leaf = jnp.asarray(rng.normal(size=(3, 5)), jnp.bfloat16)
    save_weights(file, [leaf], ())
    (loaded,) = load_weights(file, [leaf], ()).params
    assert loaded.dtype == jnp.bfloat16
    same([loaded], [leaf])


def test_float64_needs_x64(file):
    leaf = np.array([1 / 3])
    save_weights(file, {"a": leaf}, ())
    with jax.enable_x64(True):
        same(load_weights(file, {"a": leaf}, ()).params, {"a": leaf})
    with pytest.raises(ValueError, match=r"params/a is float64.*jax_enable_x64"):
        load_weights(file, {"a": leaf}, ())


def test_the_same_trees_give_the_same_bytes(network, tmp_path):
    metadata = {name: name for name in "hgfedcba"}
    for name in ("first", "second"):
        save_weights(tmp_path / name, *network, metadata)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_different_structure_is_listed_in_full(file):
    saved = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2)), "c": jnp.zeros(1)}
    save_weights(file, saved, {"mean": jnp.zeros(2)})
    wanted = {"a": jnp.zeros(4), "b": jnp.zeros((2, 2), jnp.bfloat16), "d": jnp.zeros(5)}
    with pytest.raises(ValueError, match="another network") as caught:
        load_weights(file, wanted, ())
    message = str(caught.value)
    assert str(file) in message
    assert message.splitlines()[1:] == [
        "  extra: params/c float32[1]",
        "  extra: state/mean float32[2]",
        "  missing: params/d float32[5]",
        "  params/a: expected float32[4], got float32[3]",
        "  params/b: expected bfloat16[2,2], got float32[2,2]",
    ]


def test_every_cut_and_every_changed_byte_is_noticed(file):
    save_weights(file, {"w": jnp.arange(4.0)}, (), {"model": "mlp"})
    whole = file.read_bytes()
    like = {"w": jnp.zeros(4)}
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"weights\.safetensors"):
            load_weights(file, like, ())
    name = whole.index(b"fnn.crc32")  # without its name, the checksum is anyone's metadata
    for position in set(range(len(whole))) - set(range(name, name + len(b"fnn.crc32"))):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"weights\.safetensors"):
            load_weights(file, like, ())


def test_a_missing_file_is_named(file):
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors"):
        read_metadata(file)


def test_a_file_from_elsewhere_needs_no_checksum(file):
    from safetensors.numpy import save_file

    save_file({"params/a": np.ones(2, np.float32)}, file, {"by": "another"})
    same(load_weights(file, {"a": jnp.zeros(2)}, ()).params, {"a": jnp.ones(2)})
    assert read_metadata(file) == {"by": "another"}


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(network, file, monkeypatch):
    save_weights(file, {"a": jnp.zeros(2)}, ())
    before = file.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fnn.train.weights.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_weights(file, *network)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(network, file):
    resource = pytest.importorskip("resource")
    save_weights(file, {"a": jnp.zeros(2)}, ())
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100, hard)
    )  # of every file: a disk that is full soon
    try:
        with pytest.raises(OSError, match="too large"):
            save_weights(file, *network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_whoever_reads_the_old_file_reads_it_to_its_end(network, file):
    """The new file takes the old one's name, and is never written into it."""
    save_weights(file, {"a": jnp.zeros(2)}, ())
    before = file.read_bytes()
    with file.open("rb") as reader:
        save_weights(file, *network)
        assert reader.read() == before
    assert file.read_bytes() != before


def test_folders_are_made(tmp_path):
    save_weights(tmp_path / "a" / "b" / "w", {"a": jnp.zeros(2)}, ())
    assert (tmp_path / "a" / "b" / "w").is_file()


@pytest.mark.parametrize(
    ("params", "metadata", "error", "message"),
    [
        ({"k": jax.random.key(0)}, {}, TypeError, "params/k: expected an array of numbers"),
        ({"a": np.zeros(2, np.complex128)}, {}, TypeError, "params/a: expected a dtype"),
        ({"a": np.zeros(2)}, {"epochs": 3}, TypeError, "metadata of strings"),
        ({"a": np.zeros(2)}, {"fnn.crc32": "0"}, ValueError, "without 'fnn.crc32'"),
        ({"a": {"b": np.zeros(2)}, "a/b": np.ones(2)}, {}, ValueError, "two at 'params/a/b'"),
    ],
    ids=["key", "complex128", "metadata", "checksum", "paths"],
)
def test_refuses_what_it_cannot_keep(params, metadata, error, message, file):
    with pytest.raises(error, match=message):
        save_weights(file, params, (), metadata)
    assert not file.exists()


def test_metadata_may_hold_any_text(file):
    metadata = {"classes": json.dumps(["T-shirt/top", "안녕", 'quoted "name"']), "": ""}
    save_weights(file, {"a": jnp.zeros(2)}, (), metadata)
    assert read_metadata(file) == metadata
