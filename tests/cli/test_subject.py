"""What the command line names: importable things and arrays."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses
from fnn.cli.subject import MisusedError, draw, load
from fnn.layer import Layer


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("spec", "dtype", "shape"),
    [
        ("f32[8,16]", np.float32, (8, 16)),
        ("f32[8, 16]", np.float32, (8, 16)),
        ("bf16[3]", jnp.bfloat16, (3,)),
        ("f64[]", np.float64, ()),
        ("f16", np.float16, ()),
        ("f32[0,4]", np.float32, (0, 4)),
        ("i32[5]<10", np.int32, (5,)),
        ("u8[5]", np.uint8, (5,)),
        ("bool[5]", np.bool_, (5,)),
    ],
)
def test_a_spec_is_a_dtype_and_a_shape(spec, dtype, shape):
    drawn = draw(spec, rng())
    assert (drawn.dtype, drawn.shape) == (dtype, shape)
    np.testing.assert_array_equal(drawn, draw(spec, rng()))


def test_what_is_drawn_has_the_distribution_asked_for():
    normal = draw("f64[20000]", rng())
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    uniform = draw("f64[20000]<3", rng())
    assert uniform.min() >= 0
    assert 2.99 < uniform.max() < 3
    assert set(draw("i32[1000]<10", rng()).tolist()) == set(range(10))
    assert set(draw("i64[100]", rng()).tolist()) == {0, 1}
    assert set(draw("bool[100]", rng()).tolist()) == {False, True}


def test_a_file_is_read(tmp_path):
    given = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "x.npy", given)
    np.testing.assert_array_equal(draw(str(tmp_path / "x.npy"), rng()), given)


@pytest.mark.parametrize("spec", ["", "f31[8]", "f32[8", "f32[-1]", "[8]", "f32[8]<", "float32[8]"])
def test_a_spec_that_is_none_says_what_one_is(spec):
    with pytest.raises(MisusedError, match=r"expected an array as dtype\[shape\]"):
        draw(spec, rng())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no/such/file.npy", "no file 'no/such/file.npy'"),
        ("i32[8]<0", "expected integers below 1 or more"),
        ("i32[8]<many", "expected a number after <"),
    ],
)
def test_a_value_that_cannot_be_is_refused(spec, message):
    with pytest.raises(MisusedError, match=message):
        draw(spec, rng())


def test_a_name_is_a_value_a_factory_or_a_factory_with_literals():
    assert load("fnn.layers:relu").name == "relu"  # made by calling it
    assert load("fnn.layers:linear(10)").name == "linear(10)"
    assert load("fnn.layers:dropout(rate=0.25)").name == "dropout(0.25)"
    assert isinstance(load("fnn.losses:softmax_cross_entropy"), losses.Loss)
    assert isinstance(load("fnn.layers:linear(3)"), Layer)
    assert load("jax.numpy:linalg.norm") is jnp.linalg.norm
    assert load("math:pi") == pytest.approx(3.14159, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fnn.layers", "expected package.module:name, got 'fnn.layers'"),
        (":name", "expected package.module:name"),
        ("fnn.layers:", "expected package.module:name"),
        ("no_such_module:x", "cannot import 'no_such_module'"),
        ("fnn.layers:linera", "'fnn.layers' has no 'linera'; close to it: linear"),
        ("fnn.layers:linear(size)", "expected literal arguments, got size"),
        ("fnn.layers:linear(*[1])", "expected literal arguments"),
        ("fnn.layers:linear(**{'features': 1})", "expected literal arguments"),
        ("fnn.layers:1 +", "expected a name after the colon"),
        ("fnn.layers:1 + 1", "has no '1 + 1'"),
    ],
)
def test_a_name_that_names_nothing_says_why(text, message):
    with pytest.raises(MisusedError, match=re.escape(message)):
        load(text)
