"""The catalogue of the shootout is what it says, its checkers do what they are named after."""

import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import few

from experiments import checker_shootout, large_check
from experiments.shootout_checkers import (
    CHECKERS,
    SUBJECTS,
    Case,
    bound,
    by_fnn_in_steps,
    by_full_jacobian,
    run,
)
from experiments.shootout_subjects import arguments, backward_of

FAULTS = [(name, fault) for name, subject in SUBJECTS.items() for fault in subject.faults]
FIRST_ORDER = [pair for pair in FAULTS if not pair[1].startswith("second order")]
SECOND_ORDER = [pair for pair in FAULTS if pair[1].startswith("second order")]


def distance(name, fault, size="tiny", seed=0):
    """The largest relative error of the gradients in float64, by autodiff of the plain function."""
    subject = SUBJECTS[name]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        args = arguments(subject, size, jnp.float64, seed)
        y, pull_back = jax.vjp(subject.plain, *args)
        dy = jnp.asarray(np.random.default_rng([seed, 1]).standard_normal(y.shape))
        right, found = pull_back(dy), backward_of(subject, fault)(args, dy)
        assert [g.shape for g in found] == [g.shape for g in right]
        assert [g.dtype for g in found] == [g.dtype for g in right]
        return max(
            float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a))
            for a, b in zip(right, found, strict=True)
        )


def test_the_catalogue_has_the_size_that_it_should():
    assert len(SUBJECTS) >= 8
    assert len(FAULTS) >= 30
    assert len(SECOND_ORDER) >= 2


@pytest.mark.parametrize("size", ["tiny", "real"])
@pytest.mark.parametrize("name", few(SUBJECTS, 3))
def test_right_backwards_are_right(name, size):
    assert distance(name, None, size) < 1e-12


@pytest.mark.parametrize(("name", "fault"), FIRST_ORDER)
def test_faults_are_faults(name, fault):
    # A threshold of 0.1 changes nothing where no element is that close to 0.
    assert max(distance(name, fault, "real", seed) for seed in range(2)) > 1e-6


@pytest.mark.parametrize(("name", "fault"), SECOND_ORDER)
def test_faults_of_the_second_order_are_right_in_the_first(name, fault):
    assert distance(name, fault) < 1e-12


@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16"])
def test_arguments_are_drawn_once_and_rounded(dtype):
    with jax.enable_x64(True):
        wide, low = (
            arguments(SUBJECTS["linear"], "tiny", d, 3)
            for d in (jnp.float64, checker_shootout.DTYPES[dtype])
        )
        for a, b in zip(wide, low, strict=True):
            assert b.dtype == checker_shootout.DTYPES[dtype]
            assert np.array_equal(np.asarray(a.astype(b.dtype)), np.asarray(b))


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_checker_tells_right_from_grossly_wrong_where_it_is_at_its_best(checker):
    with jax.numpy_dtype_promotion("standard"):
        assert run(CHECKERS[checker], Case("linear", None, "tiny", "f64", 0)) == "accepts"
        assert run(CHECKERS[checker], Case("linear", "dx sign", "tiny", "f64", 0)) == "rejects"


def test_a_fault_that_is_not_linear_has_no_forward_form():
    assert bound("relu", "no upstream").forward is None
    assert bound("relu", "leak 0.01").forward is not None


def test_the_full_jacobian_sees_one_element():
    case = Case("linear", "dx one element", "tiny", "f32", 0)
    assert run(by_full_jacobian, case) == "rejects"
    assert run(by_full_jacobian, case._replace(fault=None)) == "accepts"
    assert run(by_full_jacobian, case._replace(size="real")) == "n/a"


def test_fnn_in_steps_says_what_fnn_says():
    for fault in (None, "leak 0.01"):
        case = Case("relu", fault, "tiny", "f32", 1)
        assert run(by_fnn_in_steps, case) == run(CHECKERS["fnn"], case)


def test_the_tables(tmp_path, capsys):
    out = tmp_path / "out.json"
    assert checker_shootout.main(["--quick", "--only", "relu", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1 functions, 7 faults" in printed
    checks = json.loads(out.read_text())["checks"]
    assert len(checks) == 8 * len(CHECKERS)
    ours = [check for check in checks if check["checker"] == "fnn"]
    assert all(check["word"] == ("rejects" if check["fault"] else "accepts") for check in ours)


def test_rates_leave_out_what_could_not_be_asked():
    case = Case("relu", None, "tiny", "f32", 0)
    words = ("rejects", "accepts", "accepts", "n/a")
    verdicts = [checker_shootout.Verdict(case, "fnn", word, 0.1) for word in words]
    assert checker_shootout.rate(verdicts) == "33.3 %"
    assert checker_shootout.rate(verdicts[-1:]) == "n/a"
    assert checker_shootout.rate(verdicts[:1]) == "100 %"
    assert checker_shootout.rate(verdicts[1:]) == "0"


def test_who_rejects_everything_tells_nothing_apart():
    case = Case("relu", None, "tiny", "bf16", 0)
    right = [
        checker_shootout.Verdict(case, "chex rev", "rejects", 0.1),
        checker_shootout.Verdict(case, "fnn", "accepts", 0.1),
    ]
    wrong = [
        checker_shootout.Verdict(case._replace(fault="last row"), name, "rejects", 0.1)
        for name in ("chex rev", "fnn")
    ]
    apart = checker_shootout.told_apart(wrong, right)
    assert [(v.checker, v.word) for v in apart] == [("chex rev", "accepts"), ("fnn", "rejects")]


def test_the_chances_of_a_miss(rng):
    one, other = rng.standard_normal((2, 400_000))
    for a in (0.1, 0.03):
        for formula, draw in (
            (large_check.normal_within, one),
            (large_check.product_within, one * other),
        ):
            share = float(np.mean(np.abs(draw) <= a))
            assert formula(a) == pytest.approx(share, abs=4 * math.sqrt(share / len(draw)))
    assert large_check.normal_within(1e-7) == pytest.approx(1e-7 * math.sqrt(2 / math.pi))


def test_a_small_network_instead_of_the_large():
    # In a process of its own: the peak that it reports, and judges, is that of the whole process.
    small = ["--width", "16", "--depth", "1", "--batch", "4"]
    ran = subprocess.run(
        [sys.executable, "-m", "experiments.large_check", *small], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "12,730 parameters" in ran.stdout
