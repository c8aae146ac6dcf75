"""Eight forced devices: every sharding trains as one device does, and says what one expects it to say.

The devices are forced in a process of its own, which makes all the runs that a test asks it for.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

HERE = Path(__file__).parent
BOUNDS = {"float32": 1e-5, "float64": 1e-12}  # of losses, relative
# Every sharding with every network, but three axes; not with every optimizer and precision as well.
CELLS = {
    ("dense", "momentum", "float64"): ("fsdp", "tp", "mix", "three"),
    ("dense", "adam", "float32"): ("dp", "mix_fsdp"),
    ("images", "adam", "float64"): ("dp", "fsdp", "mix"),
    ("images", "momentum", "float32"): ("tp", "mix_fsdp"),
    ("text", "adam", "float64"): ("dp", "tp", "mix_fsdp"),
    ("text", "momentum", "float32"): ("fsdp", "mix"),
}


def made(jobs):
    """What each of the jobs of `sharded.py` gave, by job."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE.parents[1]),
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, str(HERE / "sharded.py"), json.dumps(jobs)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {tuple(job): result for job, result in map(json.loads, done.stdout.splitlines())}


def close(result, expected, dtype):
    """The trajectories of losses, and where the parameters and the running statistics ended."""
    np.testing.assert_allclose(result["losses"], expected["losses"], rtol=BOUNDS[dtype])
    assert len(set(expected["losses"])) > 5
    for tree in ("params", "state"):
        for a, b in zip(result[tree], expected[tree], strict=True):
            size = max(np.abs(b).max(initial=0), 1e-2)
            np.testing.assert_allclose(
                np.asarray(a) / size, np.asarray(b) / size, atol=BOUNDS[dtype]
            )


@pytest.fixture(scope="module")
def quick():
    runs = [
        ["trajectory", "dense", "momentum", "float64", sharding]
        for sharding in ("one", "dp", "mix_fsdp")
    ]
    more = [["draws", "one"], ["draws", "dp"], ["compiled_step", "dense", "fsdp"]]
    return made(runs + more)


@pytest.mark.parametrize("sharding", ["dp", "mix_fsdp"])
def test_a_sharded_run_is_the_run_of_one_device(quick, sharding):
    cell = ("trajectory", "dense", "momentum", "float64")
    close(quick[*cell, sharding], quick[*cell, "one"], "float64")


def test_batches_and_masks_are_the_same_bits(quick):
    assert quick["draws", "dp"] == quick["draws", "one"]
    (mask,) = quick["draws", "one"]["y"]
    assert 0 < np.count_nonzero(mask) < len(mask)


def test_a_fully_sharded_step_gathers_parameters_and_keeps_parts(quick):
    step = quick["compiled_step", "dense", "fsdp"]
    assert step["kept"]
    assert step["donated"]
    gathered = shapes(step, "all-gather")
    split = [p for p, part in zip(step["params"], step["parts"], strict=True) if p != part]
    assert split == [[16, 32], [32, 32], [32, 8]]
    assert sorted(gathered) == sorted(split)  # once each, and no slot of Adam's
    assert all(
        math.prod(p) == 8 * math.prod(part)
        for p, part in zip(step["params"], step["parts"], strict=True)
        if p != part
    )


def shapes(step, *kinds):
    """Of all arrays in the step's collectives of these kinds."""
    return [s for c in step["collectives"] if c["kind"] in kinds for s in c["shapes"]]


MOVES = ("all-gather", "all-to-all", "collective-permute")


@pytest.fixture(scope="module")
def steps():
    cells = [
        ("dense", "dp"),
        ("images", "dp"),
        ("text", "dp"),
        ("text", "fsdp"),
        ("images", "fsdp"),
    ]
    cells += [("text", "mix"), ("dense", "mix")]
    return made([["compiled_step", *cell] for cell in cells])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "images", "text"])
def test_data_parallel_sums_gradients_and_moves_nothing_else(steps, name):
    step = steps["compiled_step", name, "dp"]
    assert shapes(step, *MOVES, "reduce-scatter") == []
    summed = shapes(step, "all-reduce")
    assert all(72 not in shape for shape in summed), summed  # no activation: 72 examples a batch
    sizes = [math.prod(shape) for shape in summed]
    for parameter in step["params"]:
        # Of the looped blocks, one block's at a time; a convolution's with its axes in any order.
        options = (math.prod(parameter), math.prod(parameter[1:]))
        assert any(size in options for size in sizes), parameter


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "text"])
def test_fully_sharded_gathers_no_more_than_the_parameters(steps, name):
    step = steps["compiled_step", name, "fsdp"]
    assert step["kept"]
    assert step["donated"]
    split = [p for p, part in zip(step["params"], step["parts"], strict=True) if p != part]
    assert shapes(step, "all-to-all", "collective-permute") == []
    gathered = sorted(math.prod(shape) for shape in shapes(step, "all-gather"))
    assert gathered == sorted(map(math.prod, split))


@pytest.mark.slow
def test_tensor_parallel_sums_once_for_attention_and_once_for_the_mlp_in_each_pass(steps):
    step = steps["compiled_step", "text", "mix"]
    assert shapes(step, "all-to-all", "collective-permute") == []
    # A block's, of the 18 examples on each of data=4: out of the attention and the MLP, and into them.
    activations = [
        c for c in step["collectives"] if c["kind"] == "all-reduce" and [18, 8, 32] in c["shapes"]
    ]
    assert len(activations) >= 4
    parts = sum(math.prod(part) for part in step["parts"])
    assert parts < 0.6 * sum(map(math.prod, step["params"]))


@pytest.mark.slow
def test_a_checkpoint_is_restored_on_another_mesh(tmp_path):
    pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
    (result,) = made([["restored", str(tmp_path / "run")]]).values()
    expected = result["after"]["fsdp"]["losses"]
    whole = made([["trajectory", "dense", "adam", "float64", "one"]])
    (straight,) = whole.values()
    np.testing.assert_allclose([*result["before"], *expected], straight["losses"][:6], rtol=1e-12)
    for other, found in result["after"].items():
        np.testing.assert_allclose(found["losses"], expected, rtol=1e-12, err_msg=other)
    parts = {name: found["parts"] for name, found in result["after"].items()}
    assert parts == {"fsdp": [4, 32], "mix_fsdp": [8, 16], "dp": [32, 32], "one": [32, 32]}


@pytest.mark.slow
def test_no_layer_gathers_a_batch():
    (found,) = made([["gathers_of_layers"]]).values()
    assert len(found) > 150
    assert "all-gather" in found.pop("nt_xent")  # which compares every example with every other
    assert {name: kinds for name, kinds in found.items() if kinds} == {}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_every_sharding_is_the_run_of_one_device(cell):
    name, optimizer, dtype = cell
    of = ("trajectory", name, optimizer, dtype)
    results = made([[*of, sharding] for sharding in ("one", *CELLS[cell])])
    for sharding in CELLS[cell]:
        result, expected = results[*of, sharding], results[*of, "one"]
        if optimizer == "momentum":
            close(result, expected, dtype)
        else:  # a bias before a batch norm has no gradient but rounding, which Adam magnifies
            np.testing.assert_allclose(
                result["losses"], expected["losses"], rtol=BOUNDS[dtype], err_msg=sharding
            )


@pytest.mark.slow
def test_micro_batches_of_a_sharded_run_are_those_of_one_device():
    cells = [["trajectory", "text", "adam", "float64", s, 2] for s in ("one", "dp", "mix_fsdp")]
    results = made(cells)
    for cell in cells[1:]:
        close(results[tuple(cell)], results[tuple(cells[0])], "float64")
