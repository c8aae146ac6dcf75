"""Checkpoints that are damaged, killed or out of room: found, passed over loudly, never in the way."""

import errno
import os
import shutil
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import equal

from fnn import train
from fnn.train import DamagedCheckpointWarning, SaveError
from fnn.train.saving import files as checkpoint_files
from fnn.train.state import TrainState


@pytest.fixture(scope="module")
def state():
    params = {"w": jnp.arange(12.0).reshape(3, 4), "b": jnp.arange(4.0)}
    return TrainState(params, (), (), jax.random.key(0), jnp.asarray(np.int32(0)))


def of_step(state, step):
    params = jax.tree.map(lambda leaf: leaf + step, state.params)
    return state._replace(params=params, step=jnp.asarray(np.int32(step)))


@pytest.fixture(scope="module")
def two_saved(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with train.checkpoints(folder) as saved:
        for step in (10, 20):
            saved.save(of_step(state, step))
    return folder


@pytest.fixture
def folder(two_saved, tmp_path):
    """A copy of a run with the steps 10 and 20."""
    shutil.copytree(two_saved, tmp_path / "run")
    return tmp_path / "run"


def files_of(place):
    return sorted(path for path in place.rglob("*") if path.is_file())


def test_any_changed_or_cut_file_is_found_and_the_one_before_taken(folder, state, rng):
    newest = folder / "step_00000020"
    saved = train.checkpoints(folder)
    assert len(files_of(newest)) > 5
    for path in files_of(newest):
        whole = path.read_bytes()
        assert whole
        place = int(rng.integers(len(whole)))
        flipped = whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :]
        for damaged in (flipped, whole[:place], b"", whole + b"\0"):
            path.write_bytes(damaged)
            with pytest.warns(
                DamagedCheckpointWarning, match=r"step_00000020: is damaged.* Taken is"
            ):
                assert saved.read().step == 10
        path.unlink()
        with pytest.warns(DamagedCheckpointWarning, match="damaged"):
            equal(saved.restore(state).train_state, of_step(state, 10))
        path.write_bytes(whole)
        assert saved.read().step == 20


def test_every_byte_of_the_small_files_counts(folder):
    newest = folder / "step_00000020"
    for name in ("SHA256SUMS", "run.json"):
        whole = (newest / name).read_bytes()
        for place in range(0, len(whole), 5):
            (newest / name).write_bytes(
                whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
            )
            assert checkpoint_files.faults(newest)
        (newest / name).write_bytes(whole)
    assert checkpoint_files.faults(newest) == []


def test_the_warning_names_what_is_wrong(folder):
    newest = folder / "step_00000020"
    (newest / "run.json").write_text("{}")
    (newest / "state" / "more").write_text("?")
    (newest / "state" / "_METADATA").unlink()
    assert checkpoint_files.faults(newest) == [
        "state/_METADATA is missing",
        "state/more is no part of it",
        "run.json was changed or cut off",
    ]
    (newest / "SHA256SUMS").unlink()
    with pytest.warns(DamagedCheckpointWarning, match="SHA256SUMS cannot be read"):
        train.checkpoints(folder).read()


def test_none_is_whole(folder, state):
    for step in (10, 20):
        (folder / f"step_{step:08d}" / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a whole checkpoint, got none") as caught:
        train.checkpoints(folder).restore(state)
    assert str(caught.value).count("run.json was changed or cut off") == 2


def test_one_that_is_asked_for_by_its_step_has_no_other(folder, state):
    (folder / "step_00000020" / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="step_00000020: is damaged"):
        train.checkpoints(folder).restore(state, step=20)


def test_the_next_save_sets_what_is_damaged_aside(folder, state):
    """Whatever its step is: it does not count among the newest, and can be looked at."""
    (folder / "step_00000020" / "run.json").write_text("{}")
    with train.checkpoints(folder, keep=2) as saved:
        with pytest.warns(DamagedCheckpointWarning, match="damaged"):
            assert saved.restore(state).saved.step == 10
        saved.save(of_step(state, 15))
        assert saved.steps() == [10, 15]
        saved.save(of_step(state, 20))
        assert saved.steps() == [15, 20]
        equal(saved.restore(state).train_state, of_step(state, 20))
    assert (folder / "damaged_step_00000020" / "run.json").read_text() == "{}"


def test_a_damaged_one_gives_way_to_a_save_of_its_step(folder, state):
    (folder / "step_00000020" / "run.json").write_text("{}")
    with train.checkpoints(folder) as saved:
        saved.save(of_step(state, 20))
        assert saved.read().step == 20


def test_one_that_is_deleted_while_it_is_read_is_no_damage(folder, state, monkeypatch):
    faults = checkpoint_files.faults

    def deleted_first(place):
        if place.name == "step_00000020":
            checkpoint_files.delete(place)
        return faults(place)

    monkeypatch.setattr(checkpoint_files, "faults", deleted_first)
    assert train.checkpoints(folder).restore(state).saved.step == 10


def test_leftovers_are_ignored_and_the_next_writer_removes_them(folder, state):
    left = [folder / name for name in (".saving-step_00000030", ".deleting-step_00000005")]
    for path in left:
        shutil.copytree(folder / "step_00000020", path)
    saved = train.checkpoints(folder)
    assert saved.steps() == [10, 20]
    assert saved.restore(state).saved.step == 20
    assert all(path.exists() for path in left)  # a reader removes nothing
    with saved:
        saved.save(of_step(state, 40))
    assert not any(path.exists() for path in left)


def untouched(folder, state):
    """The checkpoints of before, and nothing else but the lock."""
    assert {path.name for path in folder.iterdir()} == {"step_00000010", "step_00000020", ".lock"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        equal(train.checkpoints(folder).restore(state).train_state, of_step(state, 20))


@pytest.mark.parametrize("where", ["os.fsync", "trees.write", "os.rename"])
def test_a_full_disk_at_any_point(where, folder, state, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = {
        "os.fsync": "fnn.train.saving.files.os.fsync",
        "os.rename": "fnn.train.saving.files.os.rename",
        "trees.write": "fnn.train.saving.checkpoints.trees.write",
    }[where]
    with train.checkpoints(folder) as saved:
        with monkeypatch.context() as patched:
            patched.setattr(target, full)
            with pytest.raises(
                SaveError, match=r"step_00000030: .*No space left on device"
            ) as caught:
                saved.save(of_step(state, 30))
            assert str(folder) in str(caught.value)
        untouched(folder, state)
        saved.save(of_step(state, 30))  # now there is room
        equal(saved.restore(state).train_state, of_step(state, 30))


def test_a_full_disk_in_the_background(folder, state, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with train.checkpoints(folder, background=True) as saved:
        with monkeypatch.context() as patched:
            patched.setattr("fnn.train.saving.checkpoints.trees.write", full)
            saved.save(of_step(state, 30))
            with pytest.raises(SaveError, match="No space left"):
                saved.wait()
        untouched(folder, state)
        saved.save(of_step(state, 30))
    assert train.checkpoints(folder).steps() == [10, 20, 30]


BIG = """
import resource, sys
import jax, jax.numpy as jnp, numpy as np
from fnn import train
from fnn.train import TrainState
folder, limited = sys.argv[1:]
w = np.random.default_rng(0).normal(size=300_000).astype(np.float32)
state = TrainState({"w": jnp.asarray(w)}, (), (), jax.random.key(0), jnp.asarray(np.int32(30)))
with train.checkpoints(folder) as saved:
    if limited == "limited":
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        saved.save(state)
    except train.SaveError as error:
        print(error)
    print(saved.steps())
    if limited == "limited":
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        saved.save(state)
        print(saved.steps())
"""


def run_big(folder, limited):
    done = subprocess.run(
        [sys.executable, "-c", BIG, folder, limited], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_files_that_may_not_grow(folder):
    """The system's own limit, within orbax's own writing."""
    pytest.importorskip("resource", reason="limits of files are of Unix")
    failed, before, after = run_big(folder, "limited")
    assert "step_00000030: the checkpoint of step 30 could not be written: File too large" in failed
    assert (before, after) == ("[10, 20]", "[10, 20, 30]")


@pytest.mark.slow
def test_a_disk_that_is_full(two_saved, state, tmp_path):
    """A real one, of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        folder = disk / "run"
        shutil.copytree(two_saved, folder)
        failed, steps = run_big(folder, "unlimited")
        assert "could not be written: No space left on device" in failed
        assert steps == "[10, 20]"
        untouched(folder, state)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
