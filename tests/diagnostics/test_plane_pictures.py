"""The plane: what a network says in it, and how a hidden layer moves the points of "exclusive or"."""

import jax.numpy as jnp
import numpy as np
import pytest
from pictures import XOR, XOR_HIDDEN, XOR_LABELS, XOR_LINE, xor_scores

from fnn import compose, layers, losses, tap
from fnn.diagnostics import plots

CLASSES = ("same", "different")


class TestHiddenSpace:
    def test_a_hidden_layer_divides_what_no_line_can(self, key):
        net = compose.chain(hidden=layers.linear(2), act=layers.relu(), logits=layers.linear(2))
        params, state = net.init(key, jnp.asarray(XOR))
        w, b = jnp.array([[1.0, -1.0], [-1.0, 1.0]]), jnp.zeros(2)
        last = jnp.array([[0.0, 1.0], [0.0, 1.0]]), jnp.array([0.0, -1.0])
        params = {
            **params,
            "hidden": params["hidden"]._replace(w=w, b=b),
            "logits": params["logits"]._replace(w=last[0], b=last[1]),
        }
        seen = tap.passages(
            net, losses.softmax_cross_entropy(), params, state, jnp.asarray(XOR), XOR_LABELS
        )
        hidden = np.asarray(seen["act"].y)
        np.testing.assert_array_equal(hidden, [[0, 0], [0, 0], [0, 2], [2, 0]])
        line = plots.Line(np.asarray(last[0][:, 1] - last[0][:, 0]), float(last[1][1] - last[1][0]))
        said = plots.hidden_space_text(XOR, hidden, XOR_LABELS, CLASSES, line=line)
        assert said.endswith("the line divides the classes: yes")
        in_place = plots.hidden_space_text(XOR, XOR, XOR_LABELS, CLASSES, line=line)
        assert in_place.endswith("the line divides the classes: no")

    def test_points_line_and_names(self):
        figure = plots.hidden_space(XOR, XOR_HIDDEN, XOR_LABELS, CLASSES, line=XOR_LINE)
        left, right = figure.axes
        drawn = [np.asarray(points.get_offsets()) for points in right.collections]
        np.testing.assert_array_equal(drawn[0], XOR_HIDDEN[:2])
        np.testing.assert_array_equal(drawn[1], XOR_HIDDEN[2:])
        assert [text.get_text() for text in left.texts] == ["A", "B", "C", "D"]
        assert [text.get_text() for text in right.texts] == ["A, B", "C", "D"]  # A lies on B
        (line,) = right.lines
        places = np.stack(line.get_data(), axis=1)
        np.testing.assert_allclose(places @ XOR_LINE.w + XOR_LINE.b, 0, atol=1e-12)
        (low, high), (bottom, top) = right.get_xlim(), right.get_ylim()
        assert np.abs(places[1] - places[0]).max() > max(high - low, top - bottom)

    def test_many_units_are_shown_by_their_principal_components(self, rng):
        wide = rng.normal(size=(20, 5)) * np.array([9, 4, 0.1, 0.1, 0.1])
        labels = np.arange(20) % 2
        x = rng.normal(size=(20, 2))
        axes = plots.hidden_space(x, wide, labels, CLASSES).axes[1]
        placed = np.concatenate([np.asarray(p.get_offsets()) for p in axes.collections])
        values, vectors = np.linalg.eigh(np.cov(wide.T))
        naive = (wide - wide.mean(axis=0)) @ vectors[:, ::-1][:, :2]
        naive = np.concatenate([naive[labels == 0], naive[labels == 1]])
        np.testing.assert_allclose(np.abs(placed), np.abs(naive), rtol=0, atol=1e-9)
        share = values[-1] / values.sum()
        assert axes.get_xlabel() == f"component 1, {share:.0%} of variance"

    def test_refusals(self):
        with pytest.raises(ValueError, match="a line for two hidden units only, got 3"):
            plots.hidden_space(XOR, np.zeros((4, 3)), XOR_LABELS, CLASSES, line=XOR_LINE)
        with pytest.raises(ValueError, match="two units or more"):
            plots.hidden_space_text(XOR, np.zeros((4, 1)), XOR_LABELS, CLASSES)
        with pytest.raises(ValueError, match=r"labels in \[0, 2\), got 0 to 2"):
            plots.hidden_space(XOR, XOR_HIDDEN, np.array([0, 1, 2, 0]), CLASSES)


class TestDecisionBoundary:
    def test_what_is_said_at_every_place(self):
        figure = plots.decision_boundary(xor_scores, XOR, XOR_LABELS, CLASSES, resolution=40)
        (axes,) = figure.axes
        mesh = axes.collections[0]
        said = np.asarray(mesh.get_array()).reshape(40, 40)
        at = np.linspace(-1.3, 1.3, 40)
        np.testing.assert_array_equal(said, at[:, None] * at < 0)
        assert axes.get_title(loc="left") == "4 of 4 right"
        assert "wrong" not in [text.get_text() for text in axes.get_legend().get_texts()]

    def test_wrong_examples_are_ringed(self):
        labels = np.array([1, 0, 1, 1])  # the first is not what the network says
        axes = plots.decision_boundary(xor_scores, XOR, labels, CLASSES, resolution=10).axes[0]
        rings = [each for each in axes.collections if each.get_label() == "wrong"]
        np.testing.assert_array_equal(rings[0].get_offsets(), XOR[:1])
        assert axes.get_title(loc="left") == "3 of 4 right"

    def test_the_twin_has_each_example_in_its_place(self):
        labels = np.array([1, 0, 1, 1])
        title, *cells, names, span = plots.decision_boundary_text(
            xor_scores, XOR, labels, CLASSES, margin=0.0
        ).splitlines()
        assert title == "3 of 4 right"
        assert cells[0] == "B" + "b" * 27 + "a" * 27 + "B"  # C and A, where a would be right of A
        assert cells[-1] == "A" + "a" * 27 + "b" * 27 + "B"
        assert names == "A same, B different"
        assert span == "x₁ from -1 to 1 across, x₂ from -1 at the bottom to 1"

    def test_three_classes_by_the_largest_score(self):
        centres = np.array([[0.0, 1], [1, -1], [-1, -1]])

        def scores(points):
            return -np.square(points[:, None] - centres).sum(axis=-1)

        classes = ("a", "b", "c")
        axes = plots.decision_boundary(scores, centres, np.arange(3), classes).axes[0]
        assert axes.get_title(loc="left") == "3 of 3 right"
        said = np.unique(np.asarray(axes.collections[0].get_array()))
        np.testing.assert_array_equal(said, [0, 1, 2])

    def test_refusals(self):
        with pytest.raises(ValueError, match=r"scores \(\d+, 3\) from predict"):
            plots.decision_boundary(xor_scores, XOR, XOR_LABELS, ("a", "b", "c"))
        with pytest.raises(ValueError, match=r"points \(N, 2\)"):
            plots.decision_boundary(xor_scores, np.zeros((4, 3)), XOR_LABELS, CLASSES)
