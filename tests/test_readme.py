"""The programs of the README run as they stand, and prove what they say."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import (
    augment,
    chain,
    check,
    cli,
    compose,
    data,
    diagnostics,
    exchange,
    initializers,
    layers,
    logs,
    losses,
    lsuv,
    models,
    neighbours,
    optimizers,
    train,
)
from fnn.optimizers import Minimizer, Optimizer

README_FOLDER = Path(__file__).parent.parent
README = (README_FOLDER / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
PIECES = {"compose", "descend", "trace", "velocity", "signs", "signs_of_mean", "as_minimizer"}
ROOMS = {"population", "ensemble", "distributed", "durable", "plots", "report"}
# Of training, what the others are made of, or return.
PARTS = {
    *(
        "averaged_params",
        "collectives_table",
        "confusion_matrix",
        "copy",
        "jit_once",
        "range_table",
    ),
    *("negative_log_likelihood", "read", "read_metadata", "record", "seen", "step_function"),
    *("identity", "resample"),
}
WRONG = PROGRAMS[1].replace("dy / scale**2", "dy / scale")


def run(program):
    """What the program defines."""
    names = {}
    exec(program, names)
    return names


def test_the_training_program_trains(capsys):
    run(PROGRAMS[0])
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(last.split()[-1]) > 0.93


def test_the_layer_is_proved_and_a_wrong_one_is_not():
    assert PROGRAMS[1] != WRONG
    run(PROGRAMS[1])["test_softsign"]()
    with pytest.raises(AssertionError, match="x: reverse mode at index") as caught:
        run(WRONG)["test_softsign"]()
    (likely,) = re.findall(r"\*(likely: .*?)\*", " ".join(README.split()))
    assert likely in str(caught.value)


def test_the_loss_is_proved_and_a_wrong_one_is_not():
    run(PROGRAMS[2])
    with pytest.raises(AssertionError, match="cosh: WRONG"):
        run(PROGRAMS[2].replace("jnp.sinh(error)", "jnp.cosh(error)"))


@pytest.mark.parametrize(("program", "status"), [(PROGRAMS[1], 0), (WRONG, 1)])
def test_the_shell_says_the_same(program, status, tmp_path, monkeypatch, capsys):
    (line,) = re.findall(r"^    fnn (check .*)$", README, flags=re.MULTILINE)
    module = f"activations_{status}"  # a module is imported once
    (tmp_path / f"{module}.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert cli.main(shlex.split(line.replace("activations", module))) == status
    assert ("WRONG" in capsys.readouterr().out) == bool(status)
    assert "<html" in (tmp_path / "report.html").read_text()


def test_no_planted_fault_is_missed():
    assert "lists those that no method finds: here none" in README
    x = jnp.linspace(-2.0, 2.0, 12).reshape(3, 4)
    assert check.mutation_score(run(PROGRAMS[1])["softsign"](), x).ok


def test_the_other_checks_take_what_the_readme_names(key, rng):
    x, target = rng.normal(size=(4, 3)).astype(np.float32), np.array([0, 1, 1, 0])
    net, loss = chain(hidden=layers.linear(2)), losses.softmax_cross_entropy()
    params, state = net.init(key, jnp.asarray(x))
    reports = [
        check.layer(net, x),
        check.loss(loss, x, target),
        check.network(net, loss, x, target, params=params, state=state),
        check.function(jnp.tanh, x),
    ]
    for report in reports:
        assert report.ok
        assert report.to_json()
        assert report.to_html()


def test_the_optimizer_of_ones_own(capsys):
    made = run(PROGRAMS[3])
    table = capsys.readouterr().out
    assert re.search(r"hidden/b +\*/b +\(10,\)", table)
    assert re.search(r"hidden/w +\* +\(64, 10\)", table)
    optimizer, params = made["optimizer"], made["params"]
    state = optimizer.init(params)
    (path,) = re.findall(r'with_hyperparameters\(state, \*\*\{"(.*?)": 1e-4\}\)', README)
    assert path in optimizers.hyperparameters(state)
    state = optimizers.with_hyperparameters(state, **{path: 1e-4})
    grads = {"hidden": {"w": jnp.ones((64, 10)), "b": jnp.ones(10)}}
    updates, _ = optimizer.update(grads, state, params)
    np.testing.assert_allclose(updates["hidden"]["b"], np.full(10, -1e-4), rtol=1e-6)
    # Adam's first step, and the decay of weights that are 1, at the rate of the warmup's first step.
    np.testing.assert_allclose(updates["hidden"]["w"], -3e-3 / 91 * 1.05, rtol=1e-5)


def test_the_run_that_lasts_goes_on_where_it_was(tmp_path, monkeypatch):
    """Cut off by its number of epochs, as a signal would: the rest is bit for bit that of one run."""
    monkeypatch.chdir(tmp_path)
    whole = run(PROGRAMS[4])["last"]
    assert int(whole.step) == 5 * (1437 // 32)
    lines = logs.read("runs/digits/log.jsonl")
    assert lines[-1]["evaluation"]["metrics"]["accuracy"] > 0.8
    (tmp_path / "runs").rename("whole")
    run(PROGRAMS[4].replace('"epochs": 5', '"epochs": 2'))
    rest = run(PROGRAMS[4])["last"]
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole.params)


def test_the_lines_for_eight_devices():
    """In a process of its own, since jax counts its devices once."""
    program = PROGRAMS[5] + 'print(settings["shardings"].mesh.shape["data"])'
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=README_FOLDER,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "8", done.stderr


def test_what_looks_into_a_network_sees_a_rate_that_is_too_high(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(PROGRAMS[6])
    table, diagnosis = capsys.readouterr().out.split("sick: ")
    assert "hidden_1" in table
    assert diagnosis.startswith("rate too high")
    page = (tmp_path / "runs/seen/report.html").read_text()
    assert "finished; epoch 3 of 3" in page
    assert "hidden_1" in page


def test_the_training_program_has_about_twenty_lines():
    assert len([line for line in PROGRAMS[0].splitlines() if line.strip()]) <= 21


def functions(room):
    return {name: value for name, value in vars(room).items() if inspect.isfunction(value)}


def test_the_containers_are_at_the_top_as_the_table_says():
    row = next(line for line in README.splitlines() if line.startswith("| containers, `fnn.` |"))
    names = set(re.findall(r"`([a-z_]+)`", row))
    assert names == set(compose.__all__)
    assert {name: getattr(fnn, name) for name in names} == functions(compose)


def test_all_that_is_public_is_named_and_all_that_is_named_is_there():
    table = README.partition("## What there is")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z_0-9]+)`", table))
    offered = {}
    for room in (compose, layers, losses, models):
        offered |= functions(room)
    moves = functions(optimizers)
    starts = functions(initializers) | functions(lsuv)
    engine = {
        name: value
        for room in (train, augment, exchange, logs)
        for name, value in functions(room).items()
    }
    every = offered | moves | functions(optimizers.schedules) | starts | engine
    every |= (
        functions(data) | functions(data.preprocess) | functions(diagnostics) | dict.fromkeys(ROOMS)
    )
    every |= dict.fromkeys(train.StepOptions.__annotations__)
    every |= {n: f for n, f in functions(neighbours).items() if not n.startswith("_")}
    assert named - every.keys() == set()
    cells = {name for name in offered if name.endswith("_cell")}
    assert offered.keys() - named - cells == set()
    # Of the pieces that optimizers are composed of, the table names those that people put in themselves.
    complete = {
        name
        for name, value in moves.items()
        if inspect.signature(value, eval_str=True).return_annotation in (Optimizer, Minimizer)
        and not name.startswith("scale_by_")
    }
    assert complete - named - PIECES == set()
    assert functions(optimizers.schedules).keys() - named - {"schedule_table"} == set()
    assert functions(initializers).keys() - named - {"fans"} == set()
    assert engine.keys() - named - PARTS == set()
