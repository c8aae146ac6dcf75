"""Muon: how orthogonal its steps are, how long, and which parameters take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import optimizers
from fnn.optimizers import muon, orthogonalize, resolve_matrices, with_hyperparameters


def polynomial(s):
    """What five iterations do to a singular value."""
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


class TestOrthogonalize:
    @pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1)])
    def test_the_singular_vectors_stay_and_the_values_come_near_one(self, shape, rng):
        x = rng.normal(size=shape).astype(np.float32)
        u, s, vt = np.linalg.svd(x.astype(np.float64), full_matrices=False)
        got = orthogonalize(jnp.asarray(x))
        expected = u * polynomial(s / np.linalg.norm(x)) @ vt
        np.testing.assert_allclose(got, expected, atol=1e-4)
        values = np.linalg.svd(got, compute_uv=False)
        assert (values > 0.68).all()
        assert (values < 1.21).all()

    def test_the_bounds_that_the_docstring_states(self):
        ends = polynomial(np.geomspace(0.002, 1, 10_001))
        assert ends.min() > 0.68
        assert ends.max() < 1.21

    @pytest.mark.parametrize("size", [1e-4, 1e4])
    def test_the_size_does_not_matter(self, size, rng):
        x = rng.normal(size=(3, 4)).astype(np.float32)
        got = orthogonalize(jnp.asarray(size * x).astype(jnp.float32))
        np.testing.assert_allclose(got, orthogonalize(jnp.asarray(x)), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("shape", [(70, 3), (3, 70)])
    def test_no_product_is_larger_than_the_shorter_side(self, shape):
        program = str(jax.make_jaxpr(orthogonalize)(jnp.zeros(shape)))
        assert "f32[3,3]" in program
        assert "f32[70,70]" not in program

    def test_zero_stays_zero(self):
        np.testing.assert_array_equal(orthogonalize(jnp.zeros((2, 3))), 0)

    def test_a_stack_is_its_matrices_one_by_one(self, rng):
        x = jnp.asarray(rng.normal(size=(3, 4, 2)), jnp.float32)
        got = orthogonalize(x)
        for one, matrix in zip(got, x, strict=True):
            np.testing.assert_allclose(one, orthogonalize(matrix), atol=1e-5)


PARAMS = {
    "conv": {"w": np.ones((2, 2, 3, 4), np.float32), "b": np.ones(4, np.float32)},
    "blocks": {"w": np.ones((5, 3, 6), np.float32), "b": np.ones((5, 6), np.float32)},
    "logits": {"w": np.ones((6, 2), np.float32)},
}


def first(optimizer, grads, params=PARAMS):
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return updates


def drawn(rng):
    return jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), PARAMS)


def groups(**rules):
    return {p.path: p.group for p in resolve_matrices(PARAMS, **rules).parameters}


class TestWho:
    def test_by_shape(self):
        assert groups() == {
            "conv/w": "matrices",
            "conv/b": "rest",
            "blocks/w": "matrices",
            "blocks/b": "matrices",
            "logits/w": "matrices",
        }

    def test_stacks_have_one_axis_more(self):
        found = groups(stacked="blocks/*")
        assert found["blocks/w"] == "stacks"
        assert found["blocks/b"] == "rest"

    def test_by_path(self):
        found = groups(matrices=("!logits/*", "*/w"), stacked="blocks/*")
        assert found["logits/w"] == "rest"
        assert found["conv/w"] == "matrices"

    def test_the_table_is_printed(self):
        text = str(resolve_matrices(PARAMS))
        assert text.splitlines()[3].split() == ["conv/b", "rest", "(4,)", "4"]

    def test_what_is_no_matrix(self):
        with pytest.raises(ValueError, match=r"a matrix, .* 2 axes, got shape \(4,\) at 'conv/b'"):
            muon(matrices="conv/*").init(PARAMS)
        with pytest.raises(ValueError, match=r"a stack of matrices, .* 3 axes, .* 'blocks/b'"):
            muon(matrices="*", stacked="blocks/*").init({"blocks": PARAMS["blocks"]})
        with pytest.raises(ValueError, match="a pattern that matches a parameter, got 'embed'"):
            muon(matrices="embed").init(PARAMS)
        transform = optimizers.scale_by_orthogonal_momentum(0.9, 1e-8)
        vector = jnp.ones(3)
        with pytest.raises(
            ValueError, match=r"expected a matrix, of at least 2 axes, got .*\(3,\)"
        ):
            transform.update(vector, transform.init(vector), vector)

    def test_no_iterations(self):
        with pytest.raises(ValueError, match="at least 1 iteration, got 0"):
            muon(iterations=0)


def test_a_kernel_steps_like_the_matrix_of_its_taps(rng):
    grads = drawn(rng)
    kernel = first(muon(0.1), grads)["conv"]["w"]
    flat = {"w": grads["conv"]["w"].reshape(12, 4)}
    matrix = first(muon(0.1), flat, {"w": np.ones((12, 4), np.float32)})["w"]
    np.testing.assert_allclose(np.reshape(kernel, (12, 4)), matrix, rtol=1e-5)
    values = np.linalg.svd(matrix, compute_uv=False) / 0.1
    assert (values > 0.68).all()
    assert (values < 1.21).all()


def test_stacked_matrices_step_one_by_one(rng):
    grads = drawn(rng)
    stack = first(muon(0.1, stacked="blocks/*"), grads)["blocks"]["w"]
    for update, g in zip(stack, grads["blocks"]["w"], strict=True):
        alone = first(muon(0.1), g, np.ones((3, 6), np.float32))
        np.testing.assert_allclose(update, alone, atol=1e-6)


@pytest.mark.parametrize(
    ("dialect", "shape", "scale"),
    [
        ("jordan", (3, 12), 2.0),
        ("jordan", (12, 3), 1.0),
        ("moonlight", (3, 12), 0.2 * np.sqrt(12)),
        ("moonlight", (12, 3), 0.2 * np.sqrt(12)),
    ],
)
def test_the_length_of_a_step_follows_the_sides(dialect, shape, scale, rng):
    g = rng.normal(size=shape).astype(np.float32)
    u = first(muon(0.1, dialect=dialect), g, np.zeros(shape, np.float32))
    np.testing.assert_allclose(u, -0.1 * scale * orthogonalize(jnp.asarray(g)), atol=1e-4)


def test_the_rest_takes_adamws_steps_at_its_own_rate(rng):
    grads = drawn(rng)
    optimizer = muon(0.1, weight_decay=0.3, adam_rate=0.01)
    expected = first(optimizers.adamw(0.01, weight_decay=0.3), grads)["conv"]["b"]
    np.testing.assert_array_equal(first(optimizer, grads)["conv"]["b"], expected)
    state = with_hyperparameters(optimizer.init(PARAMS), **{"rest/rate/hyper/rate": 0.0})
    updates, _ = optimizer.update(grads, state, PARAMS)
    np.testing.assert_array_equal(updates["conv"]["b"], 0)
    assert (np.abs(updates["conv"]["w"]).max()) > 0.01


def test_one_moment_for_a_matrix():
    state = muon(0.1).init({"w": jnp.zeros((30, 40))})
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) == 30 * 40
