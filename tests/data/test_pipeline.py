"""The host pipeline: the batches of a compiled epoch, ahead of the step, and no thread left behind."""

import gc
import pickle
import subprocess
import sys
import threading
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import data, losses, models, optimizers, train
from fnn.data import order
from fnn.data.host_batches import Arrays, example_generator
from fnn.train.batches import batch_indices
from fnn.train.epoch import take

COUNT, SIZE = 50, 8
X = np.random.default_rng(0).standard_normal((COUNT, 6))  # float64, of which jax keeps float32
Y = np.arange(COUNT) % 10
ON_DEVICE = (jnp.asarray(X), jnp.asarray(Y))
indices = jax.jit(partial(batch_indices, count=COUNT, batch_size=SIZE))


class Reader:
    """Examples read one at a time, by a Python int, with a count of the reads."""

    def __init__(self, fails_at=None):
        self.reads = 0
        self.fails_at = fails_at
        self.lock = threading.Lock()

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        assert type(index) is int
        with self.lock:
            self.reads += 1
        if index == self.fails_at:
            raise OSError(f"image {index} is damaged")
        return X[index], Y[index]


def assert_same(batch, expected):
    assert jax.tree.structure(batch) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(batch), jax.tree.leaves(expected), strict=True):
        assert isinstance(ours, jax.Array)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), strict=True)


def soon(true, seconds=10.0):
    """Whether something comes true within so many seconds."""
    stop = time.monotonic() + seconds
    while not true() and time.monotonic() < stop:
        time.sleep(0.01)
    return true()


def pipeline_threads():
    return [t for t in threading.enumerate() if t.name.startswith("fnn-pipeline")]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("source", [(X, Y), Reader()], ids=["arrays", "one by one"])
def test_batches_are_those_of_data_on_the_device_from_any_step_on(key, workers, source):
    pipeline = data.pipeline(source, workers=workers)
    assert pipeline.count == COUNT
    for start in (0, 5, 17):
        batches = pipeline.batches(key, start, SIZE)
        for step in range(start, start + 8):
            assert_same(next(batches), take(ON_DEVICE, indices(key, np.int32(step))))
        batches.close()


def test_a_map_data_set_of_grains_is_a_source(key):
    grain = pytest.importorskip("grain", reason="grain is not installed")
    source = grain.MapDataset.source(Reader()).map(lambda example: (example[0] * 2, example[1]))
    x, y = next(data.pipeline(source).batches(key, 3, SIZE))
    chosen = np.asarray(indices(key, np.int32(3)))
    np.testing.assert_array_equal(x, X[chosen].astype(np.float32) * 2)
    np.testing.assert_array_equal(y, Y[chosen])


def test_a_tree_of_arrays_keeps_its_structure(key):
    tree = {"x": X.astype(np.float16), "target": (Y.astype(np.uint8), jnp.asarray(X[:, 0] > 0))}
    batch = next(data.pipeline(tree).batches(key, 3, SIZE))
    assert_same(batch, take(jax.tree.map(jnp.asarray, tree), indices(key, np.int32(3))))
    assert batch["x"].dtype == jnp.float16


def test_training_from_either_is_the_same_run(key):
    net, optimizer = models.mlp((5,), 10), optimizers.adam(0.01)
    step = train.step(net, losses.softmax_cross_entropy(), optimizer)
    host = train.init(net, optimizer, key, ON_DEVICE[0][:SIZE])
    device = train.copy(host)
    for batch, _ in zip(data.pipeline((X, Y)).batches(key, 0, SIZE), range(7), strict=False):
        host, _ = step(host, batch)
        device, _ = step(device, take(ON_DEVICE, indices(device.key, device.step)))
    jax.tree.map(np.testing.assert_array_equal, host.params, device.params)


def test_mapped_files_are_read_and_sent_to_processes_by_name(key, tmp_path):
    for name, array in (("x", np.asfortranarray(X)), ("y", Y)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = tuple(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    batch = next(data.pipeline(mapped).batches(key, 2, SIZE))
    assert_same(batch, take(ON_DEVICE, indices(key, np.int32(2))))
    sent = pickle.dumps(Arrays(mapped))
    assert len(sent) < 1000 < X.nbytes
    x, y = pickle.loads(sent).tree
    assert isinstance(x, np.memmap)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    part = pickle.loads(pickle.dumps(Arrays((mapped[0][10:],)))).tree[0]
    np.testing.assert_array_equal(part, X[10:])


def jitter(generator, example):
    x, y = example
    return x + generator.standard_normal(6), y


def test_random_changes_depend_on_key_epoch_and_example_alone(key):
    def changes(pipeline, start, steps, key=key, size=SIZE):
        """{(epoch, index): what was added}."""
        batches, found = pipeline.batches(key, start, size), {}
        words = np.asarray(jax.random.key_data(key))
        for step in range(start, start + steps):
            x, _ = next(batches)
            chosen = order.batch_indices(words, step, COUNT, size)
            for index, row in zip(chosen, np.asarray(x), strict=True):
                found[step // (COUNT // size), int(index)] = row - X[index]
        return found

    pipeline = data.pipeline((X, Y), augment=jitter)
    first = changes(pipeline, 0, 12)
    resumed = changes(pipeline, 3, 9)
    alone = changes(data.pipeline(Reader(), augment=jitter, workers=0), 0, 2, size=24)
    assert len(resumed.keys() & first.keys()) == 72
    assert len(alone.keys() & first.keys()) > 30
    for other in (resumed, alone):
        for place in other.keys() & first.keys():
            np.testing.assert_array_equal(other[place], first[place])
    drawn = np.stack(list(first.values()))
    assert len(np.unique(drawn[:, 0])) == len(drawn) == 96  # no two alike, nor of two epochs
    elsewhere = changes(pipeline, 0, 6, key=jax.random.fold_in(key, 1))
    assert not set(drawn[:, 0]) & {row[0] for row in elsewhere.values()}


@pytest.mark.parametrize("last", [2, 2**31, 2**32 - 1])
def test_no_two_examples_epochs_or_runs_share_a_stream(last):
    places = [(last, last, 5, 7), (last, last - 1, 5, 7), (last - 1, last, 5, 7)]
    places += [(last, last, 4, 7), (last, last, 5, 6), (last, last, 7, 5), (0, 0, 0, 0)]
    drawn = {
        example_generator(np.array(words, np.uint32), epoch, index).random()
        for *words, epoch, index in places
    }
    assert len(drawn) == len(places)


def test_a_transform_comes_before_the_random_change(key):
    pipeline = data.pipeline(
        (X, Y),
        transform=lambda example: (example[0] * 0, example[1]),
        augment=lambda _, example: (example[0] + 1, example[1]),
    )
    x, y = next(pipeline.batches(key, 0, SIZE))
    np.testing.assert_array_equal(x, np.ones((SIZE, 6)))
    np.testing.assert_array_equal(y, Y[np.asarray(indices(key, np.int32(0)))])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_arrives_at_its_step_with_its_cause_and_ends_the_iterator(key, workers):
    step = 4
    bad = int(np.asarray(indices(key, np.int32(step)))[3])
    batches = data.pipeline(Reader(fails_at=bad), workers=workers).batches(key, 0, SIZE)
    for _ in range(step):
        next(batches)
    with pytest.raises(OSError, match=f"image {bad} is damaged") as caught:
        next(batches)
    assert caught.value.__notes__[:2] == [
        f"in example {bad}",
        f"while making the batch of step {step}",
    ]
    with pytest.raises(StopIteration):
        next(batches)
    assert soon(lambda: not pipeline_threads())


def test_examples_that_do_not_fit_together_are_named(key):
    ragged = [np.zeros(2 + (i == 30)) for i in range(COUNT)]
    with pytest.raises(ValueError, match="same shape") as caught:
        list(data.pipeline(ragged).batches(key, 0, COUNT))
    assert "step 0" in caught.value.__notes__[0]


def test_no_more_is_read_ahead_than_was_asked_for(key):
    reader = Reader()
    batches = data.pipeline(reader, workers=2, prefetch=3).batches(key, 0, SIZE)
    time.sleep(0.05)
    assert reader.reads == 0
    for taken in range(1, 5):
        next(batches)
        assert soon(lambda taken=taken: reader.reads == (taken + 3) * SIZE)
        time.sleep(0.02)
        assert reader.reads == (taken + 3) * SIZE
    batches.close()


@pytest.mark.parametrize("end", ["close", "forget"])
def test_no_thread_is_left_behind(key, end):
    batches = data.pipeline(Reader()).batches(key, 0, SIZE)
    next(batches)
    assert pipeline_threads()
    if end == "close":
        batches.close()
        batches.close()
        assert list(batches) == []
    del batches
    gc.collect()
    assert soon(lambda: not pipeline_threads())


def test_a_program_may_leave_its_iterator_open():
    program = (
        "import jax, numpy as np; from fnn import data\n"
        "batches = data.pipeline(np.arange(100.0)).batches(jax.random.key(0), 0, 10)\n"
        "next(batches)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, timeout=60, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_batches_are_put_where_they_are_wanted(key):
    device = jax.devices()[-1]
    sharding = jax.sharding.SingleDeviceSharding(device)
    x, _ = next(data.pipeline((X, Y), device=sharding).batches(key, 0, SIZE))
    assert x.sharding == sharding
    assert x.committed


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        (3, {}, TypeError, "__getitem__, got int"),
        (iter([1]), {}, TypeError, "__getitem__, got list_iterator"),
        ((X, [1, 2]), {}, TypeError, "found int in it"),
        ((X, np.float32(1)), {}, TypeError, "arrays with one row an example"),
        ((X, X.astype(str)), {}, TypeError, "arrays of numbers, got one of dtype <U32"),
        (np.array([None, 1]), {}, TypeError, "dtype object"),
        ((), {}, ValueError, "got shapes []"),
        ((X, Y[1:]), {}, ValueError, "got shapes [(50, 6), (49,)]"),
        ([], {}, ValueError, "got 0"),
        ((X[:0],), {}, ValueError, "got 0"),
        (X, {"workers": -1}, ValueError, "got -1 and 0"),
        (X, {"processes": -1}, ValueError, "got 2 and -1"),
        (X, {"prefetch": 1}, ValueError, "at least 2 batches for 2 workers, got 1"),
        (X, {"workers": 0, "prefetch": 0}, ValueError, "at least 1 batches"),
    ],
)
def test_what_is_no_pipeline_is_refused_at_once(source, options, error, words):
    with pytest.raises(error, match="expected") as caught:
        data.pipeline(source, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(("step", "size"), [(0, 0), (0, 51), (-1, 8), (2**31 - 1, 8)])
def test_steps_and_sizes_that_make_no_sense_are_refused_at_the_call(key, step, size):
    with pytest.raises(ValueError, match="expected a"):
        data.pipeline((X, Y)).batches(key, step, size)
