"""Hard inputs, over every layer and loss: hand-written, reverse and forward mode give one answer.

Each row is run at each kind of input below. The hand-written gradient and `jax.vjp` of the plain
forward must agree element by element, in where a NaN or an infinity stands as well. `jax.jvp` is held
to both by the adjoint identity ⟨dy, J t⟩ = ⟨Jᵀ dy, t⟩, once with tangents of x and once with tangents of
the parameters (a basis vector would not do: its zeros times an infinity are NaN). A row whose answer
differs from autodiff's at a kind names the kind in `hard`, with the reason; a reason that is not needed
fails, too.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from hard import hard_inputs, jit, judge, layer_verdicts, loss_verdicts, three_ways, verdicts
from selection import few
from tables import LAYERS, LOSSES


@pytest.mark.parametrize("name", few(LAYERS, 30))
def test_layer(name, rng, key):
    kinds, found = layer_verdicts(LAYERS[name], rng, key)
    judge(found, LAYERS[name].hard, kinds)


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, rng):
    kinds, found = loss_verdicts(LOSSES[name], rng)
    judge(found, LOSSES[name].hard, kinds)


def test_what_hides_a_nan_or_turns_an_infinity_is_found():
    """The test of the tests: y = |x|, by a right backward and by three wrong ones."""

    def forward(params, x):
        return jnp.where(x < 0, -x, x)

    backwards = {
        "right": lambda dy, x: jnp.where(x < 0, -dy, dy),
        "hides a nan": lambda dy, x: jnp.where(x < 0, -dy, jnp.where(x >= 0, dy, 0)),
        "nan at infinity": lambda dy, x: (
            jnp.where(x < 0, -dy, dy) * jnp.where(jnp.isinf(x), x - x, 1)
        ),
        "loses small ones": lambda dy, x: (
            jnp.where(x < 0, -dy, dy) * jnp.where(jnp.abs(x) < 1e-30, 0, 1)
        ),
    }
    kinds = hard_inputs(np.asarray([1.0, -2.0, 0.5, 3.0], np.float32), batched=True)
    found = {}
    for name, backward in backwards.items():

        @jit
        def run(x, backward=backward):
            return three_ways(forward, lambda p, x, dy: (p, backward(dy, x)), (), x)

        found[name] = list(verdicts(kinds, run, 1e-5))
    assert found == {
        "right": [],
        "hides a nan": ["nan"],
        "nan at infinity": ["inf", "-inf"],
        "loses small ones": ["subnormal"],
    }


def test_a_refusal_that_is_not_declared_and_one_that_does_not_come_are_found():
    kinds = hard_inputs(np.ones((2, 3, 1), np.float32), batched=True)

    def run(x):
        if x.shape[1] == 0:
            raise ValueError("expected a step")
        return {"hand": ((), x), "reverse": ((), x), "forward": {}}

    assert verdicts(kinds, run, 1e-5, {"no time"}) == {}
    assert "expected a step" in verdicts(kinds, run, 1e-5)["no time"]
    assert list(verdicts(kinds, run, 1e-5, {"no time", "empty batch"})) == ["empty batch"]


def test_a_reason_that_is_not_needed_and_a_kind_that_there_is_not_are_found():
    judge({"inf": "differs"}, {"inf": "a reason"}, ["inf", "nan"])
    for found, stated in (
        ({"inf": "differs"}, {}),
        ({}, {"inf": "a reason"}),
        ({}, {"x": "a reason"}),
    ):
        with pytest.raises(AssertionError):
            judge(found, stated, ["inf", "nan"])
