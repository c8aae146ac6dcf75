"""Losses on lines and planes against a closed form, and the directions against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers
from fnn.compose import repeat
from fnn.diagnostics import (
    LossLine,
    LossPlane,
    along_and_across,
    filter_normalized,
    loss_along,
    loss_on_plane,
    path_plane,
)
from fnn.losses import squared_error

NET = chain(out=layers.linear(2, bias=False))
LOSS = squared_error()


def problem(rng):
    x = rng.normal(size=(7, 3)).astype(np.float32)
    target = rng.normal(size=(7, 2)).astype(np.float32)
    params, state = NET.init(jax.random.key(0), x)
    return params, state, x, target


def like(params, rng):
    return jax.tree.map(
        lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params, is_leaf=None
    )


def mean_of(w, x, target, weights=None):
    return np.average(((x @ w - target) ** 2).sum(axis=1), weights=weights)


def test_a_line_is_the_quadratic_that_it_is(rng):
    params, state, x, target = problem(rng)
    direction = like(params, rng)
    w, d = np.asarray(params["out"].w), np.asarray(direction["out"].w)
    distances = np.linspace(-1, 2, 5).astype(np.float32)
    weights = rng.uniform(size=7).astype(np.float32)
    look = loss_along(NET, LOSS, batch_size=3)
    found = look(params, state, x, target, direction, distances, None, weights)
    exact = [mean_of(w + a * d, x, target, weights) for a in distances]
    np.testing.assert_allclose(found.losses, exact, rtol=1e-5)
    np.testing.assert_array_equal(found.distances, distances)


def test_a_plane_has_its_first_direction_down(rng):
    params, state, x, target = problem(rng)
    directions = like(params, rng), like(params, rng)
    w, d, e = (np.asarray(p["out"].w) for p in (params, *directions))
    a, b = jnp.asarray([-1.0, 0.0, 0.5]), jnp.asarray([-0.5, 2.0])
    found = loss_on_plane(NET, LOSS)(params, state, x, target, directions, a, b)
    exact = [[mean_of(w + i * d + j * e, x, target) for j in b] for i in a]
    np.testing.assert_allclose(found.losses, exact, rtol=1e-5)


def test_each_filter_of_a_random_direction_has_its_norm():
    net = chain(
        conv=layers.convolution(4, 3),
        norm=layers.batch_norm(),
        flat=layers.flatten(),
        out=layers.linear(3),
    )
    x = jnp.zeros((2, 4, 4, 2))
    params, _ = net.init(jax.random.key(1), x)
    d = filter_normalized(jax.random.key(2), params)
    assert jax.tree.structure(d) == jax.tree.structure(params)
    for name in ("conv", "out"):
        ours, theirs = (np.asarray(p[name].w).reshape(-1, p[name].w.shape[-1]) for p in (params, d))
        np.testing.assert_allclose(
            np.linalg.norm(theirs, axis=0), np.linalg.norm(ours, axis=0), rtol=1e-5
        )
        assert np.abs(ours - theirs).max() > 0.1
        np.testing.assert_array_equal(d[name].b, 0)
    np.testing.assert_array_equal(d["norm"].scale, 0)
    other = filter_normalized(jax.random.key(3), params)
    assert np.abs(np.asarray(other["out"].w - d["out"].w)).max() > 0.1


def test_stacked_blocks_have_filters_of_their_own():
    net = chain(blocks=repeat(chain(layers.linear(3)), 4))
    params, _ = net.init(jax.random.key(1), jnp.zeros((2, 3)))
    params["blocks"]["block"]["linear_1"] = jax.tree.map(
        lambda p: (p + 1) * jnp.arange(1.0, 5.0).reshape(4, *[1] * (p.ndim - 1)),
        params["blocks"]["block"]["linear_1"],
    )
    d = filter_normalized(jax.random.key(2), params, stacked=["blocks"])
    ours, theirs = (p["blocks"]["block"]["linear_1"] for p in (params, d))
    np.testing.assert_allclose(
        np.linalg.norm(theirs.w, axis=1), np.linalg.norm(ours.w, axis=1), rtol=1e-5
    )
    np.testing.assert_array_equal(theirs.b, 0)  # (4, 3): biases, though of two axes


def test_along_leads_back_and_across_is_orthogonal(rng):
    first, state, x, target = problem(rng)
    last = like(first, rng)
    along, across = along_and_across(jax.random.key(4), first, last)
    d, e = (np.asarray(p["out"].w) for p in (along, across))
    np.testing.assert_allclose(last["out"].w - d, first["out"].w, atol=1e-6)
    assert abs(np.sum(d * e)) < 1e-5 * np.sum(d * d)
    assert np.linalg.norm(e) == pytest.approx(np.linalg.norm(d), rel=1e-5)
    found = loss_along(NET, LOSS)(last, state, x, target, along, jnp.asarray([-1.0, 0.0]))
    exact = [mean_of(np.asarray(p["out"].w), x, target) for p in (first, last)]
    np.testing.assert_allclose(found.losses, exact, rtol=1e-4)
    for still in along_and_across(jax.random.key(4), first, first):
        np.testing.assert_array_equal(still["out"].w, 0)


def test_the_plane_of_a_path_is_that_of_its_singular_vectors(rng):
    path = [{"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)} for _ in range(6)]
    path = [jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), each) for each in path]
    found = path_plane(path)
    rows = np.stack([np.concatenate([np.ravel(p["a"]), p["b"]]) for p in path])
    rows = (rows - rows[-1]).astype(np.float64)
    u, sigma, vt = np.linalg.svd(rows, full_matrices=False)
    for i, direction in enumerate(found.directions):
        ours = np.concatenate([np.ravel(direction["a"]), direction["b"]])
        sign = np.sign(ours @ vt[i])
        np.testing.assert_allclose(sign * ours, vt[i], atol=1e-4)
        np.testing.assert_allclose(sign * found.coordinates[:, i], u[:, i] * sigma[i], atol=1e-3)
    np.testing.assert_allclose(found.explained, sigma[:2] ** 2 / np.sum(sigma**2), rtol=1e-4)
    np.testing.assert_array_equal(found.coordinates[-1], 0)
    assert found.origin is path[-1]
    a, b = found.axes(5, margin=0.5)
    low, high = np.min(found.coordinates, axis=0), np.max(found.coordinates, axis=0)
    ends = np.array([[a[0], a[-1]], [b[0], b[-1]]])
    np.testing.assert_allclose(ends.T, [1.5 * low - 0.5 * high, 1.5 * high - 0.5 * low], rtol=1e-5)
    assert a.shape == b.shape == (5,)
    assert str(found).splitlines()[-1].startswith("explained: ")


def test_a_straight_path_has_one_direction(rng):
    start, step = rng.normal(size=20), rng.normal(size=20)
    path = [{"w": jnp.asarray(start + i * i * step, jnp.float32)} for i in range(5)]
    found = path_plane(path)
    unit = step / np.linalg.norm(step)
    assert abs(np.asarray(found.directions[0]["w"]) @ unit) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(found.directions[1]["w"], 0)
    np.testing.assert_allclose(found.explained, [1, 0], atol=1e-5)
    still = path_plane([path[0]] * 3)
    np.testing.assert_array_equal(still.coordinates, 0)


def test_text():
    line = str(LossLine(jnp.asarray([-1.0, 0.0, 1.0]), jnp.asarray([2.0, 1.0, jnp.nan])))
    rows = line.splitlines()
    assert rows[2].split() == ["-1", "2", "█" * 40]
    assert rows[3].split() == ["0", "1"]
    assert rows[4].split() == ["1", "nan", "?"]
    losses = jnp.asarray([[5.0, 4.0, 3.0], [2.0, 1.0, jnp.inf]])
    plane = str(LossPlane(jnp.asarray([0.0, 0.5]), jnp.asarray([-1.0, 0.0, 1.0]), losses))
    assert plane.splitlines()[:3] == [" 1  ▒▒??", " 0  ░░██", "-1  ··▓▓"]
    assert "across: a from 0 to 0.5; upward: b; loss 1 (at a = 0.5, b = 0) to 5" in plane
    unknown = LossPlane(jnp.zeros(1), jnp.zeros(1), jnp.full((1, 1), jnp.nan))
    assert str(unknown) == "no loss on this plane is finite"


def test_what_is_refused(rng):
    params, state, x, target = problem(rng)
    with pytest.raises(ValueError, match="batch size of 1 or more, got 0"):
        loss_along(NET, LOSS, batch_size=0)
    other = {"out": params["out"]._replace(w=jnp.zeros((3, 3)))}
    message = r"like out/w \(3, 2\), got \(3, 3\)"
    with pytest.raises(ValueError, match=message):
        loss_along(NET, LOSS)(params, state, x, target, other, jnp.zeros(1))
    with pytest.raises(ValueError, match="expected two directions, got 1"):
        loss_on_plane(NET, LOSS)(params, state, x, target, (params,), jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(ValueError, match=message):
        path_plane([other, params, params])
    with pytest.raises(ValueError, match=message):
        along_and_across(jax.random.key(0), other, params)
    with pytest.raises(ValueError, match="three snapshots or more, got 2"):
        path_plane([params, params])
    with pytest.raises(ValueError, match=r"expected paths of \['out/w'\], got \['blocks'\]"):
        filter_normalized(jax.random.key(0), params, stacked=["blocks"])
