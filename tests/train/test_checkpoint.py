"""Checkpoints: the way there and back of every kind of leaf, which are kept, and what is refused."""

import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import network

from fnn import Static, optimizers, train
from fnn.train import TrainState
from fnn.tree import paths


def state_of(params, step=0, key=None):
    """A train state that holds these, and all kinds of nodes without leaves."""
    return TrainState(
        params,
        {"shape": Static((3, 4)), "none": None, "empty": ()},
        (jnp.zeros((), jnp.int32),),
        jax.random.key(7) if key is None else key,
        jnp.asarray(np.int32(step)),
    )


def kinds(tree):
    return [(path, jax.typeof(leaf), leaf.committed) for path, leaf in paths(tree)]


def same(a, b):
    """The structure, shapes, dtypes, weak types and commitments, and every bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert kinds(a) == kinds(b)
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(p.dtype, jax.dtypes.prng_key):
            p, q = jax.random.key_data(p), jax.random.key_data(q)
        assert np.asarray(p).tobytes() == np.asarray(q).tobytes()


def there_and_back(state, folder, like=None):
    with train.checkpoints(folder) as saved:
        saved.save(state)
    return train.checkpoints(folder).restore(state if like is None else like).train_state


def test_a_whole_train_state(start, tmp_path):
    same(there_and_back(start, tmp_path), start)


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "complex64", "int64", "int8",
     "uint32", "uint8", "bool", "int4"],
)  # fmt: skip
def test_every_dtype(dtype, rng, tmp_path):
    with jax.enable_x64(dtype.endswith("64")):
        params = {"a": jnp.asarray(5 * rng.normal(size=(3, 5))).astype(dtype)}
        same(there_and_back(state_of(params), tmp_path), state_of(params))


def test_odd_leaves(tmp_path):
    """NaN and its sign, -0.0, weak types, no elements, transposed NumPy, a Python number, odd names."""
    params = {
        "nan": jnp.asarray([np.nan, -np.nan, -0.0, np.inf, 1e-45]),
        "weak": jnp.asarray(2.5),
        "weak integers": jnp.stack([jnp.asarray(3), jnp.asarray(-4)]),
        "weak and empty": jnp.full((0, 2), 1.0),
        "empty": jnp.zeros((3, 0), jnp.bfloat16),
        "a.b/c": [jnp.ones(2), (jnp.ones(1),)],
        "": jnp.ones(1),
    }
    assert params["weak"].weak_type
    assert params["weak integers"].weak_type
    same(there_and_back(state_of(params), tmp_path / "a"), state_of(params))
    given = {"numpy": np.arange(6, dtype=np.float32).reshape(2, 3).T, "number": 1.5}
    back = there_and_back(state_of(given), tmp_path / "b").params
    np.testing.assert_array_equal(back["numpy"], given["numpy"])
    assert back["number"] == 1.5
    assert back["number"].weak_type


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_of_every_implementation(kind, tmp_path):
    keys = {"some": jax.random.split(jax.random.key(1, impl=kind), (2, 3)), "none": jax.random.split(
        jax.random.key(1, impl=kind), (0,))}  # fmt: skip
    state = state_of(keys, key=jax.random.key(5, impl=kind))
    back = there_and_back(state, tmp_path)
    same(back, state)
    np.testing.assert_array_equal(jax.random.bits(back.key), jax.random.bits(state.key))


def test_a_population(start, tmp_path):
    """One leading axis on all: the folder is named by the furthest."""
    population = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start)
    population = population._replace(step=jnp.asarray(np.int32([3, 5])))
    same(there_and_back(population, tmp_path), population)
    assert train.checkpoints(tmp_path).steps() == [5]


def test_onto_shapes_only(start, tmp_path):
    like = jax.eval_shape(lambda: start)
    same(there_and_back(start, tmp_path, like), start)


def test_where_the_given_leaves_are_bound(start, tmp_path):
    bound = jax.device_put(start, jax.devices()[0])
    assert bound.params["hidden"].w.committed
    same(there_and_back(start, tmp_path, bound), bound)


def test_the_restored_state_traces_nothing_again(start, tmp_path):
    step = train.jit_once("step", lambda state: state._replace(step=state.step + 1))
    after = step(start)
    step(there_and_back(after, tmp_path))  # which raises at a second trace


def test_another_program_reads_it(start, tmp_path):
    """With plain orbax and no fnn, in nested dicts; and coreutils checks the sums."""
    import orbax.checkpoint as ocp

    with train.checkpoints(tmp_path) as saved:
        place = saved.save(start)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        like = ocp.args.PyTreeRestore(
            restore_args={"params": {"hidden": {"w": ocp.RestoreArgs(restore_type=np.ndarray)}}},
            item={"params": {"hidden": {"w": 0}}},
            partial_restore=True,
        )
        tree = reader.restore(place / "state", args=like)
    np.testing.assert_array_equal(tree["params"]["hidden"]["w"], start.params["hidden"].w)
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=place, check=True)


def test_says_what_it_is(start, tmp_path):
    settings = {"rate": 0.1, "sizes": (3, 4), "nan": float("nan")}
    with train.checkpoints(tmp_path, settings=settings) as saved:
        place = saved.save(start, score=0.5)
        read = saved.read()
    assert (read.step, read.score, read.settings["sizes"]) == (0, 0.5, [3, 4])
    assert read.versions["jax"] == jax.__version__
    assert str(read.leaves["params/hidden/w"]) == "float32[5,16]"
    assert str(read.leaves["key"]) == "key<threefry2x32>[]"
    assert json.loads((place / "run.json").read_text())["schema"] == 1


def test_keeps_the_newest_and_the_best(start, tmp_path):
    with train.checkpoints(tmp_path, keep=2, best="max") as saved:
        for step, score in [(10, 0.1), (20, 0.9), (30, float("nan")), (40, None), (50, 0.9)]:
            saved.save(start, step=step, score=score)
        assert saved.steps() == [20, 40, 50]
        assert saved.best_step() == 20
    with train.checkpoints(tmp_path, keep=1, best="min") as saved:
        saved.save(start, step=100_000_000, score=1.0)
        assert saved.steps() == [20, 100_000_000]
    with train.checkpoints(tmp_path, keep=1) as saved:
        saved.save(start, step=200_000_000)
        assert saved.steps() == [200_000_000]
        assert saved.best_step() is None


def test_never_deletes_the_one_just_saved(start, tmp_path):
    """Behind a later one, which may be damaged."""
    with train.checkpoints(tmp_path, keep=1) as saved:
        saved.save(start, step=20)
        saved.save(start, step=10)
        assert saved.steps() == [10, 20]


def test_a_step_that_is_saved_already(start, tmp_path):
    with train.checkpoints(tmp_path) as saved:
        saved.save(start, step=3)
        with pytest.raises(
            train.StepExistsError, match=r"step_00000003: expected a step that is not"
        ):
            saved.save(start, step=3)


def test_one_writer_at_a_time(start, tmp_path):
    with train.checkpoints(tmp_path) as first:
        first.save(start, step=1)
        with train.checkpoints(tmp_path) as second:
            with pytest.raises(
                BlockingIOError, match="one writer at a time, got another one, of pro"
            ):
                second.save(start, step=2)
            same(second.restore(start).train_state, start)  # a reader is let in
    with train.checkpoints(tmp_path) as third:
        third.save(start, step=2)


def test_in_the_background_from_a_copy(start, tmp_path):
    donate = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf, state), donate_argnums=0)
    doomed = train.copy(start)
    with train.checkpoints(tmp_path, background=True) as saved:
        saved.save(doomed)
        donate(doomed)
        saved.save(start, step=1)  # waits for the first
        assert 0 in saved.steps()
    assert doomed.params["hidden"].w.is_deleted()
    for step in (0, 1):
        same(train.checkpoints(tmp_path).restore(start, step=step).train_state, start)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"keep": 0}, ValueError, "at least one checkpoint, got keep=0"),
        ({"best": "most"}, ValueError, "'min', 'max' or None, got 'most'"),
        ({"settings": {"net": object()}}, TypeError, "as JSON has them, got 'net': <object"),
    ],
)
def test_options_are_refused_when_they_are_given(options, error, words, tmp_path):
    with pytest.raises(error, match=words):
        train.checkpoints(tmp_path, **options)


def test_leaves_are_refused_before_anything_is_written(start, tmp_path):
    with train.checkpoints(tmp_path / "new") as saved:
        with pytest.raises(TypeError, match=r"state/what: expected an array, got function"):
            saved.save(start._replace(state={"what": train.copy}))
        with pytest.raises(ValueError, match="one leaf at each path, got two at 'params/a/b'"):
            saved.save(state_of({"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}}))
    assert not (tmp_path / "new").exists()


def test_nothing_is_there(start, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a checkpoint, got those of steps \\[\\]"):
        train.checkpoints(tmp_path / "new").restore(start)
    assert not (tmp_path / "new").exists()
    with train.checkpoints(tmp_path) as saved:
        saved.save(start, step=4)
        with pytest.raises(FileNotFoundError, match=r"of step 5, got those of steps \[4\]"):
            saved.restore(start, step=5)


def test_another_structure_is_listed(tmp_path):
    saved = state_of({"a": jnp.zeros(3), "b": jnp.zeros((2, 2)), "c": jnp.zeros(1)})
    given = state_of({"a": jnp.zeros(4), "b": jnp.zeros((2, 2), jnp.bfloat16), "d": jnp.zeros(5)},
                     key=jax.random.key(0, impl="rbg"))  # fmt: skip
    with pytest.raises(ValueError, match="expected the structure") as caught:
        there_and_back(saved, tmp_path, given)
    assert str(caught.value).splitlines()[1:] == [
        "  extra in the checkpoint: params/c float32[1]",
        "  key: expected key<rbg>[], the checkpoint holds key<threefry2x32>[]",
        "  missing in the checkpoint: params/d float32[5]",
        "  params/a: expected float32[4], the checkpoint holds float32[3]",
        "  params/b: expected bfloat16[2,2], the checkpoint holds float32[2,2]",
    ]


def test_another_optimizer_and_a_long_list(examples, start, key, tmp_path):
    other = train.init(network(), optimizers.momentum(0.1), key, examples[0][:8])
    with pytest.raises(ValueError, match="is it another optimizer") as caught:
        there_and_back(start, tmp_path, other)
    assert "extra in the checkpoint: optimizer/moments/steps int32[]" in str(caught.value)
    with pytest.raises(ValueError, match=r"… and \d+ more"):
        train.checkpoints(tmp_path).restore(state_of({str(i): 0.0 for i in range(99)}))


def test_other_settings_are_listed_and_may_be_allowed(start, tmp_path):
    with train.checkpoints(tmp_path, settings={"rate": 0.1, "size": 8, "x": float("nan")}) as saved:
        saved.save(start)
    other = train.checkpoints(tmp_path, settings={"rate": 0.2, "net": "mlp", "x": float("nan")})
    with pytest.raises(ValueError, match="expected the settings of the run") as caught:
        other.restore(start)
    assert str(caught.value).splitlines()[1:-1] == [
        '  net: saved nothing, now "mlp"',
        "  rate: saved 0.1, now 0.2",
        "  size: saved 8, now nothing",
    ]
    same(other.restore(start, may_differ=("net", "rate", "size")).train_state, start)
    same(train.checkpoints(tmp_path).restore(start).train_state, start)  # nothing is compared


def test_another_schema_is_refused(start, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, train.checkpoints(tmp_path) as saved:
        patched.setattr("fnn.train.saving.run.SCHEMA", 2)
        saved.save(start)
    with pytest.raises(ValueError, match="expected schema 1, got 2, written by fnn"):
        train.checkpoints(tmp_path).restore(start)


def test_float64_onto_float32(tmp_path):
    with jax.enable_x64(True):
        there_and_back(state_of({"a": jnp.ones(2, jnp.float64)}), tmp_path)
    with pytest.raises(
        ValueError, match=r"expected float32\[2\], the checkpoint holds float64\[2\]"
    ):
        train.checkpoints(tmp_path).restore(state_of({"a": jnp.ones(2)}))
