"""The table and the picture of schedules: the numbers in them are those that a run uses."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn.diagnostics import plots
from fnn.optimizers import schedules
from fnn.optimizers.schedules import schedule_table


def test_first_last_and_largest_values():
    rate = schedules.cosine_with_warmup(0.5, 100, warmup_steps=4)
    text = schedule_table({"rate": rate, "weight_decay": 0.01}, 100)
    said, head, row, number = text.splitlines()
    assert "0 is the first update, 99 the last of 100; 100 would be one more" in said
    assert head.split() == ["count", "0", "1", "2", "…", "97", "98", "99", "100", "largest"]
    numbers = [0.1, 0.2, 0.3, *(f"{float(rate(c)):.6g}" for c in (97, 98, 99)), 0]
    first, second, third, *last, end = map(str, numbers)
    assert row.split() == ["rate", first, second, third, "…", *last, end, "0.5", "at", "4"]
    assert number.split()[:4] == ["weight_decay", "0.01", "0.01", "0.01"]


def test_a_run_shorter_than_the_columns_has_each_count_once():
    lines = schedule_table({"r": schedules.linear(1.0, 4)}, 4).splitlines()
    assert lines[1].split() == ["count", "0", "1", "2", "3", "4", "largest"]
    assert lines[2].split() == ["r", "1", "0.75", "0.5", "0.25", "0", "1", "at", "0"]
    assert schedule_table({"r": 0.1}, 1).splitlines()[1].split() == ["count", "0", "1", "largest"]


def test_a_long_run_is_not_searched_for_its_largest_value():
    lines = schedule_table({"r": schedules.cosine(1.0, 2**31 - 1)}, 2**31 - 2, ends=1).splitlines()
    assert lines[1].split() == ["count", "0", "…", "2147483645", "2147483646"]


def test_refuses_no_schedule_no_step_and_several_numbers():
    with pytest.raises(ValueError, match="one schedule at least"):
        schedule_table({}, 10)
    with pytest.raises(ValueError, match="expected steps of at least 1"):
        schedule_table({"r": 0.1}, 0)
    with pytest.raises(ValueError, match=r"'r' to give one number for one count, got shape \(2,\)"):
        schedule_table({"r": lambda count: jnp.ones(2)}, 10)


def test_the_picture_has_each_schedule_and_its_marked_values():
    rate = schedules.one_cycle(0.5, 50)
    figure = plots.schedules({"rate": rate, "decay": 0.9}, 50)
    upper, lower = figure.axes
    line, marks = upper.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(51))
    np.testing.assert_allclose(line.get_ydata(), rate(jnp.arange(51)), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(marks.get_xdata(), [0, 15, 49])
    assert upper.get_title(loc="left") == "rate"
    assert "0.02 at 0,  0.5 at 15" in upper.get_title(loc="right")
    np.testing.assert_allclose(lower.lines[0].get_ydata(), 0.9)
    assert lower.get_xlabel() == "steps already made"


def test_no_picture_of_nothing():
    with pytest.raises(ValueError, match="a schedule and a step at least"):
        plots.schedules({}, 50)
    with pytest.raises(ValueError, match="a schedule and a step at least"):
        plots.schedules({"rate": 0.1}, 0)
