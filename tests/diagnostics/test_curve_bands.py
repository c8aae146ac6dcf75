"""Bands over seeds, histograms over time, and reliability, against naive loops and `calibration`."""

import numpy as np
import pytest

from fnn.diagnostics import plots, statistics
from fnn.diagnostics.statistics import EDGES
from fnn.train import calibration


class TestSeeds:
    def test_mean_and_range(self, rng):
        runs = rng.normal(size=(5, 7))
        found = plots.band(runs)
        for i in range(7):
            column = sorted(runs[:, i])
            assert found.mean[i] == pytest.approx(sum(column) / 5, abs=1e-12)
            assert (found.low[i], found.high[i]) == (column[0], column[-1])

    def test_quantiles_between_the_seeds(self):
        found = plots.band(np.array([[0.0], [1], [2], [3], [4]]), (0.25, 0.75))
        assert (found.low[0], found.high[0]) == (1, 3)

    def test_a_run_that_diverged_is_not_left_out(self):
        found = plots.band(np.array([[1.0, np.inf], [3.0, 2.0]]))
        np.testing.assert_array_equal(found, [[2, np.nan], [1, np.nan], [3, np.nan]])
        text = plots.seeds_text(np.arange(2), {"a": np.array([[1.0, np.inf], [3.0, 2.0]])})
        assert "nan" in text
        assert "▁?" in text

    def test_lines_bands_and_names(self, rng):
        at, a, b = np.arange(100), rng.random((3, 100)), rng.random((2, 100)) + 20
        axes = plots.seeds(at, {"sgd": a, "adam": b}, quantity="error", unit="step").axes[0]
        np.testing.assert_allclose(axes.lines[1].get_ydata(), b.mean(axis=0))
        reached = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (reached.min(), reached.max()) == (a.min(), a.max())
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        assert names == ["sgd (3 seeds)", "adam (2 seeds)"]
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("step", "error", "log")
        assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()

    def test_smooth(self, rng):
        at, runs = np.arange(300), rng.random((2, 300))
        drawn = plots.seeds(at, {"a": runs}, smooth=True).axes[0].lines[0].get_ydata()
        naive = np.mean([plots.smoothed(run) for run in runs], axis=0)
        np.testing.assert_allclose(drawn, naive, rtol=1e-12)

    @pytest.mark.parametrize(
        ("draw", "match"),
        [
            (lambda: plots.band(np.zeros(3)), r"values \(seeds, points\)"),
            (lambda: plots.band(np.zeros((0, 3))), r"values \(seeds, points\)"),
            (lambda: plots.band(np.zeros((2, 3)), (0.9, 0.1)), "low < high"),
            (lambda: plots.seeds(np.arange(3), {}), "at least one kind of run"),
            (
                lambda: plots.seeds(np.arange(3), {"a": np.zeros((2, 4))}),
                r"values \(seeds, 3\) of 'a', got shape \(2, 4\)",
            ),
        ],
    )
    def test_refusals(self, draw, match):
        with pytest.raises(ValueError, match=match):
            draw()


class TestRunsThatDiverge:
    values = np.where(np.arange(200) == 100, np.inf, 1.0)

    def test_only_what_is_near_is_not_known(self):
        smooth = plots.smoothed(self.values)
        np.testing.assert_array_equal(np.isnan(smooth), np.abs(np.arange(200) - 100) <= 2)
        np.testing.assert_allclose(smooth[~np.isnan(smooth)], 1)

    def test_they_are_drawn(self, tmp_path):
        course = plots.Course(np.arange(200.0), self.values, np.where(self.values > 1, np.nan, 0.5))
        plots.save(plots.curves(course), tmp_path / "curves.png")
        assert plots.curves(course).axes[1].get_ylim()[0] == pytest.approx(0.5)
        assert "?" in plots.curves_text(course).splitlines()[2]


class TestHistograms:
    at = np.array([0, 10, 40])
    counts = np.array([[0, 4, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0]])
    edges = np.array([-1.0, 0, 1, 2, 3])

    def test_shares_in_their_places(self):
        figure = plots.histograms(self.at, self.counts, self.edges, name="w", unit="epoch")
        axes = figure.axes[0]
        np.testing.assert_array_equal(
            np.asarray(axes.collections[0].get_array()), [[1, 0.5, 0], [0, 0.5, 0]]
        )
        borders = axes.collections[0].get_coordinates()[0, :, 0]
        np.testing.assert_array_equal(borders, [-5, 5, 25, 55])
        assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "1", "2"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "w")

    def test_the_twin(self):
        title, upper, lower = plots.histograms_text(self.at, self.counts, self.edges).splitlines()
        assert title == "value from, to; across: step 0 to 40; █ is 100%"
        assert upper == "1 2 | ▒ |"
        assert lower == "0 1 |█▒ |"

    def test_the_histograms_of_statistics(self, rng):
        x = rng.normal(size=(4, 200)).astype(np.float32)
        counts = np.stack([np.asarray(statistics(row).histogram) for row in x])
        edges = np.array([-np.inf, *EDGES, np.inf])
        axes = plots.histograms(np.arange(4), counts, edges).axes[0]
        shares = np.asarray(axes.collections[0].get_array())
        np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-6)
        largest = [float(np.abs(x).max()), float(x.min())]
        labels = [float(text.get_text()) for text in axes.get_yticklabels()]
        assert labels[0] <= largest[1]
        assert labels[-1] >= x.max()

    def test_many_bins_are_put_together_in_the_twin(self):
        counts = np.ones((100, 60))
        lines = plots.histograms_text(np.arange(100), counts, np.arange(61.0)).splitlines()
        assert lines[0].endswith("█ is 5%")  # three bins of 60 in a line
        assert len(lines) == 1 + 20
        assert lines[1].split("|")[1] == "█" * 48

    def test_one_time(self):
        axes = plots.histograms([3], self.counts[:1], self.edges).axes[0]
        np.testing.assert_array_equal(axes.get_xlim(), [2.5, 3.5])

    def test_refusals(self):
        with pytest.raises(ValueError, match=r"edges \(B \+ 1,\), got shapes \(3,\), \(3, 4\)"):
            plots.histograms(self.at, self.counts, self.edges[:-1])
        with pytest.raises(ValueError, match="counts above 0"):
            plots.histograms_text(self.at, 0 * self.counts, self.edges)


class TestReliability:
    def test_of_a_calibration(self, rng):
        scores = rng.normal(size=(300, 3)).astype(np.float32)
        labels = rng.integers(0, 3, 300).astype(np.int32)
        reduction = calibration(10)
        found = reduction.result(reduction.update(reduction.init(), scores, labels, None))
        arrays = [np.asarray(each) for each in (found.confidence, found.accuracy, found.examples)]
        upper, lower = plots.reliability(*arrays, "digits").axes
        title = f"digits: expected calibration error {float(found.error):.1%}"
        assert upper.get_title(loc="left") == title
        held = arrays[2] > 0
        assert not held.all()
        np.testing.assert_array_equal(upper.lines[1].get_xdata(), arrays[0][held])
        np.testing.assert_array_equal(upper.lines[1].get_ydata(), arrays[1][held])
        assert [bar.get_height() for bar in lower.patches] == arrays[2][held].tolist()
        text = plots.reliability_text(*arrays, "digits").splitlines()
        assert text[0] == title
        assert len(text) == 3 + held.sum()

    def test_refusals(self):
        with pytest.raises(ValueError, match=r"three arrays \(M,\)"):
            plots.reliability(np.zeros(2), np.zeros(3), np.zeros(3))
        with pytest.raises(ValueError, match="examples in at least one bin"):
            plots.reliability_text(np.zeros(2), np.zeros(2), np.zeros(2))
