"""Every picture: drawn, labelled, and told in words and characters that hold its numbers."""

import io
import math
from itertools import pairwise

import numpy as np
import pytest
from pictures import CLASSES, COUNTS, PROBABILITIES, TARGET, course, every_picture

from fnn.diagnostics import plots
from fnn.diagnostics.plots.text import image_text, shaded, sparkline, thinned


@pytest.fixture(scope="module")
def pictures():
    return every_picture()


NAMES = (
    *("activation_maps", "confusion", "curves", "decision_boundary", "filters", "hidden_space"),
    *("histograms", "loss_line", "loss_plane", "mistakes", "reliability", "saliency"),
    *("schedules", "seeds"),
)


IMAGES = {"activation_maps", "filters", "mistakes", "saliency"}  # which have no axes


def test_no_picture_is_left_out(pictures):
    drawn = {name for name in vars(plots) if f"{name}_text" in vars(plots)}
    assert drawn | {"loss_line", "loss_plane", "schedules"} == set(pictures) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_drawn(name, pictures):
    image = pytest.importorskip("PIL.Image")
    pixels = np.asarray(image.open(io.BytesIO(plots.png(pictures[name][0], dpi=60))).convert("RGB"))
    assert min(pixels.shape[:2]) > 60
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20  # white paper has one colour


@pytest.mark.parametrize("name", NAMES)
def test_its_twin_fits_a_terminal(name, pictures):
    lines = pictures[name][1].splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("name", sorted(set(NAMES) - IMAGES))
def test_its_axes_say_what_they_are(name, pictures):
    for axes in pictures[name][0].axes:
        shared = axes.get_subplotspec() is not None and not axes.get_subplotspec().is_last_row()
        assert axes.get_xlabel() or shared or axes.get_label() == "<colorbar>", name
        assert axes.get_ylabel() or axes.get_title() or axes.get_title(loc="left"), name


def test_curves():
    training, test = course(50), course(5)
    said = plots.curves_text(training, test).splitlines()
    by_name = {line[:17].strip(): line.split() for line in said[2:]}
    assert list(by_name) == ["training loss", "test loss", "training accuracy", "test accuracy"]
    for quantity, best in (("loss", min), ("accuracy", max)):
        values = getattr(test, quantity)
        numbers = [float(word) for word in by_name[f"test {quantity}"][2:5]]
        np.testing.assert_allclose(numbers, [values[0], best(values), values[-1]], rtol=1e-3)
    assert by_name["test loss"][5][0] == "█"
    assert by_name["test accuracy"][5][-1] == "█"
    with pytest.raises(ValueError, match="at least one training step"):
        plots.curves_text(course(0))


def test_confusions():
    said = plots.confusion_text(COUNTS, CLASSES).splitlines()
    assert said[0] == "17 of 20 right"
    assert [line.split() for line in said[3:6]] == [
        ["cat", "8", "·", "2"], ["dog", "·", "9", "·"], ["owl", "1", "·", "·"],
    ]  # fmt: skip
    assert said[7:] == ["  cat taken for owl: 2 of 10", "  owl taken for cat: 1 of 1"]
    assert "most frequent" not in plots.confusion_text(np.eye(3), CLASSES)


def test_filters_and_maps(rng):
    weights = rng.normal(size=(3, 2, 4))
    weights[1, 0, 3] = -9
    said = plots.filters_text(weights, "all", most=1).splitlines()
    assert said[0] == "all (1 of 3 with the largest norms)"
    assert said[-1].split()[0] == "1"
    assert said[-1].endswith("-9       (0, 3)")
    maps = np.zeros((2, 3, 2))
    maps[1, 2, 0] = 6
    first, second = (line.split() for line in plots.activation_maps_text(maps).splitlines()[2:])
    assert first == ["0", "1", "2.24", "83%", "6", "at", "(1,", "2)"]
    assert second[1:4] == ["0", "0", "100%"]


def test_mistakes_worst_first():
    said = plots.mistakes_text(TARGET, PROBABILITIES, CLASSES, most=2).splitlines()
    assert said[0] == "the 2 worst of 3 mistakes in 5 images"
    first, second = (line.split() for line in said[3:])
    assert first == ["2", "dog", "69.0%", "owl", "1.00%", f"{-math.log(0.01):.3g}"]
    assert second == ["3", "owl", "70.0%", "cat", "10.00%", f"{-math.log(0.1):.3g}"]


def test_no_mistake():
    said = plots.mistakes_text(np.array([0, 1]), np.eye(2), ("a", "b"))
    assert said == "no mistakes in 2 images"
    worst = plots.mistakes_text(np.array([0]), np.array([[0.0, 1.0]]), ("a", "b")).splitlines()
    assert worst[-1].split() == ["0", "b", "100.0%", "a", "0.00%", "inf"]


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plots.activation_maps(np.zeros((2, 2))), r"one example's \(H, W, C\)"),
        (
            lambda: plots.saliency(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), ["a"]),
            "expected images",
        ),
        (lambda: plots.loss_line(np.arange(2), np.full(2, np.nan)), "some finite"),
        (
            lambda: plots.loss_plane(np.arange(2), np.arange(3), np.zeros((3, 2))),
            r"losses \(A, B\)",
        ),
        (
            lambda: plots.loss_plane(np.arange(2), np.arange(2), np.eye(2), path=np.zeros(2)),
            r"a path \(T, 2\)",
        ),
        (lambda: sparkline(np.zeros((2, 2))), r"values \(n,\)"),
    ],
)
def test_refusals(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()


class TestCharacters:
    def test_a_line_has_its_extremes_and_its_gaps(self):
        assert sparkline(np.array([0.0, 1, 2, 3])) == "▁▃▆█"
        assert sparkline(np.array([0.0, np.nan, 1])) == "▁?█"
        assert sparkline(np.array([2.0, 2.0])) == "▁▁"
        assert sparkline(np.array([np.nan])) == "?"

    def test_many_values_are_means_of_parts(self, rng):
        values = rng.normal(size=101)
        edges = np.linspace(0, 101, 8).round().astype(int)
        naive = [values[a:b].mean() for a, b in pairwise(edges)]
        np.testing.assert_allclose(thinned(values, 7), naive, rtol=1e-12)
        values[edges[2]] = np.inf  # must not hide among its neighbours
        naive[2] = np.nan
        np.testing.assert_allclose(thinned(values, 7), naive, rtol=1e-12)
        assert len(sparkline(values, 7)) == 7

    def test_an_image_has_its_bright_place(self):
        image = np.zeros((40, 40))
        image[30:, :10] = 1
        lines = image_text(image, width=16).splitlines()
        assert lines[:6] == [""] * 6
        assert lines[6:8] == ["████"] * 2
        assert lines[-1].endswith("from 0 to 1")

    def test_given_ends_cut_off(self):
        assert shaded(np.array([-5.0, 0.5, 9]), "abc", 0.0, 1.0) == "abc"
