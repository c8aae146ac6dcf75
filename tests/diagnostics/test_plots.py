"""The pictures: what is in them, and what they leave alone. How they look is for eyes."""

import subprocess
import sys

import numpy as np
import pytest

from fnn.diagnostics import plots

CLASSES = ("cat", "dog", "owl")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def course(n, start=0.0):
    at = start + np.arange(1, n + 1) / 10
    return plots.Course(at, np.exp(-at), 1 - np.exp(-at))


class TestCurves:
    def test_both_panels_have_both_courses(self):
        figure = plots.curves(course(50), course(5))
        loss, accuracy = figure.axes
        assert [line.get_label() for line in loss.lines if line.get_label()[0] != "_"] == [
            "training",
            "test",
        ]
        faint, _, held_out = accuracy.lines
        np.testing.assert_array_equal(faint.get_ydata(), course(50).accuracy)
        np.testing.assert_array_equal(held_out.get_xdata(), course(5).epochs)
        assert loss.get_yscale() == "log"

    def test_without_held_out_points(self):
        empty = course(0)
        assert len(plots.curves(course(3), empty).axes[0].lines) == 2
        assert len(plots.curves(course(3)).axes[0].lines) == 2

    def test_a_loss_of_zero_is_drawn_on_a_linear_scale(self):
        perfect = plots.Course(np.arange(3.0), np.array([1.0, 0.1, 0.0]), np.ones(3))
        assert plots.curves(perfect).axes[0].get_yscale() == "linear"

    def test_refuses_an_empty_course(self):
        with pytest.raises(ValueError, match="at least one training step"):
            plots.curves(course(0))

    def test_smoothing_is_a_mean_over_the_neighbours(self, rng):
        values = rng.normal(size=500)
        naive = [values[max(i - 5, 0) : i + 6].mean() for i in range(500)]
        np.testing.assert_allclose(plots.smoothed(values), naive, rtol=0, atol=1e-12)
        np.testing.assert_allclose(plots.smoothed(np.full(3, 2.0)), 2.0)


class TestFilters:
    def test_every_filter_on_one_symmetric_scale(self, rng):
        images = rng.normal(size=(11, 3, 3))
        figure = plots.filters(images, "title")
        drawn = [axes for axes in figure.axes if axes.images]
        assert len(drawn) == 11
        np.testing.assert_array_equal(drawn[4].images[0].get_array(), images[4])
        low, high = drawn[0].images[0].get_clim()
        assert low == -high
        assert all(axes.images[0].get_clim() == (low, high) for axes in drawn)

    def test_too_many_are_cut_to_the_largest(self, rng):
        images = rng.normal(size=(10, 2, 2)) * np.arange(10)[:, None, None]
        figure = plots.filters(images, "all", most=2)
        drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
        norms = np.linalg.norm(images.reshape(10, -1), axis=1)
        for image, index in zip(drawn, sorted(np.argsort(-norms)[:2]), strict=True):
            np.testing.assert_array_equal(image, images[index])
        assert "2 of 10" in figure.get_suptitle()

    def test_all_zero_weights_can_be_drawn(self, tmp_path):
        plots.save(plots.filters(np.zeros((1, 3, 3))), tmp_path / "zero.png")

    def test_refuses_none(self):
        with pytest.raises(ValueError, match="at least one filter"):
            plots.filters(np.zeros((0, 3, 3)))


class TestMistakes:
    images = np.arange(5 * 4).reshape(5, 2, 2) / 20
    target = np.array([0, 1, 2, 0, 1])
    probabilities = np.array(
        [[0.9, 0.05, 0.05], [0.5, 0.4, 0.1], [0.3, 0.69, 0.01], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0]]
    )

    def test_worst_first_with_what_was_said_and_what_it_is(self):
        figure = plots.mistakes(self.images, self.target, self.probabilities, CLASSES)
        drawn = [axes for axes in figure.axes if axes.images]
        assert [axes.get_title() for axes in drawn] == ["dog  69%", "owl  70%", "cat  50%"]
        assert [axes.get_xlabel() for axes in drawn] == ["is owl", "is cat", "is dog"]
        np.testing.assert_array_equal(drawn[0].images[0].get_array(), self.images[2])
        assert "3 mistakes in 5 images" in figure.get_suptitle()

    def test_only_the_worst_of_many(self):
        figure = plots.mistakes(self.images, self.target, self.probabilities, CLASSES, most=1)
        assert [axes.get_title() for axes in figure.axes if axes.images] == ["dog  69%"]
        assert "the 1 worst of 3 mistakes" in figure.get_suptitle()

    def test_no_mistake(self, tmp_path):
        perfect = np.eye(3)[self.target]
        figure = plots.mistakes(self.images, self.target, perfect, CLASSES)
        assert not figure.axes
        assert "no mistakes in 5 images" in figure.get_suptitle()
        plots.save(figure, tmp_path / "none.png")


def test_confusion_matrix_shows_its_counts():
    counts = np.array([[8, 0, 2], [0, 9, 0], [1, 0, 0]])
    (axes,) = plots.confusion(counts, CLASSES).axes
    assert sorted(texts(axes)) == ["1", "2", "8", "9"]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title(loc="left") == "17 of 20 right"
    shade = axes.images[0].get_array()
    np.testing.assert_allclose(shade, [[0, 0, 0.2], [0, 0, 0], [1, 0, 0]])


def test_saved_pictures_are_png(tmp_path):
    path = tmp_path / "deep" / "curves.png"
    plots.save(plots.curves(course(20), course(2)), path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_diagnostics_need_no_plotting_library_and_plots_no_global_state():
    program = """
import sys
import numpy as np
from fnn import diagnostics, models
assert "matplotlib" not in sys.modules
diagnostics.plots.confusion(np.eye(2, dtype=int), ("a", "b"))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


class TestClasses:
    @pytest.mark.parametrize("draw", [plots.confusion, plots.confusion_text])
    @pytest.mark.parametrize(("shape", "names"), [((4, 4), "012"), ((3, 2), "012"), ((3,), "012")])
    def test_counts_and_names_that_do_not_fit(self, draw, shape, names):
        with pytest.raises(ValueError, match=r"counts \(C, C\) and the names of C classes"):
            draw(np.ones(shape, int), list(names))

    def test_numbers_are_names_too(self):
        counts, target, sure = np.ones((2, 2), int), np.array([1]), np.array([[0.9, 0.1]])
        points, numbers = np.zeros((2, 2), np.float32), range(2)
        said = [
            plots.confusion_text(counts, numbers),
            plots.mistakes_text(target, sure, numbers),
            plots.hidden_space_text(points, points, np.array([0, 1]), numbers),
            plots.decision_boundary_text(lambda p: p, points, np.array([0, 1]), numbers),
        ]
        assert said == [
            plots.confusion_text(counts, "01"),
            plots.mistakes_text(target, sure, "01"),
            plots.hidden_space_text(points, points, np.array([0, 1]), "01"),
            plots.decision_boundary_text(lambda p: p, points, np.array([0, 1]), "01"),
        ]
        ticks = plots.confusion(counts, numbers).axes[0].get_xticklabels()
        assert [tick.get_text() for tick in ticks] == ["0", "1"]
        assert plots.mistakes(np.zeros((1, 2, 2)), target, sure, numbers).axes
