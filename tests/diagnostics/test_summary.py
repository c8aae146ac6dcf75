"""The summary's rows against closed forms."""

import jax
import jax.numpy as jnp
import pytest

from fnn import chain, layers, models, parallel, residual
from fnn.diagnostics import summary


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def by_path(summarized):
    return {row.path: row for row in summarized.rows}


def test_rows_of_a_dense_network():
    found = summary(models.mlp((5,), 3), f32(7, 2, 2, 1))
    rows = by_path(found)
    assert list(rows) == ["flatten", "hidden_1", "act_1", "logits"]
    hidden, logits = rows["hidden_1"], rows["logits"]
    assert (hidden.name, hidden.output, hidden.parameters, hidden.state) == (
        "linear(5)",
        "7×5",
        25,
        0,
    )
    assert hidden.forward == 2 * 7 * 4 * 5 + 7 * 5
    # The gradient of the network's input is not needed, so only dw and db are counted.
    assert hidden.backward == 2 * 7 * 4 * 5 + 7 * 5
    assert logits.forward == 2 * 7 * 5 * 3 + 7 * 3
    assert logits.backward == 2 * (2 * 7 * 5 * 3) + 7 * 3
    assert found.total.parameters == 25 + 18
    assert found.total.forward == sum(row.forward for row in found.rows)
    assert found.total.backward == sum(row.backward for row in found.rows)
    assert found.total.output == "7×3"


def test_the_convnets_convolutions():
    found = summary(models.convnet(10), f32(128, 28, 28, 1))
    rows = by_path(found)
    assert (found.total.parameters, found.total.state) == (468_138, 640)
    products = {
        "block_1/conv_1": 2 * 128 * 28 * 28 * 9 * 32,
        "block_1/conv_2": 2 * 128 * 28 * 28 * 9 * 32 * 32,
        "block_2/conv_1": 2 * 128 * 14 * 14 * 9 * 32 * 64,
        "block_2/conv_2": 2 * 128 * 14 * 14 * 9 * 64 * 64,
        "head/dense": 2 * 128 * 3136 * 128,
    }
    for path, product in products.items():
        assert rows[path].forward == product
        both = 1 if path == "block_1/conv_1" else 2  # no gradient of the first one's input
        assert rows[path].backward == pytest.approx(both * product, rel=1e-3)
    assert rows["block_1/norm_2"].state == 64
    assert rows["block_1/pool"].output == "128×14×14×32"


def test_what_is_upstream_of_the_first_parameters_needs_no_gradient():
    rows = by_path(summary(chain(act=layers.tanh(), out=layers.linear(2)), f32(5, 3)))
    assert rows["act"].forward == 15
    assert rows["act"].backward == 0


def test_containers_own_work_has_a_row():
    found = summary(residual(chain(out=layers.linear(4))), f32(3, 4))
    assert found.containers.forward == 12  # x + body(x)
    assert found.total.forward == found.rows[0].forward + 12
    assert found.containers.backward == 0  # the gradient of the network's input is not needed
    assert "(between)" in str(found)
    assert "(between)" not in str(summary(layers.linear(4), f32(3, 4)))


def test_containers_own_work_in_backward():
    found = summary(chain(first=layers.linear(4), sum=residual(layers.linear(4))), f32(3, 4))
    assert (found.containers.forward, found.containers.backward) == (12, 12)


def test_a_leaf_alone_and_several_outputs():
    assert by_path(summary(layers.linear(4), f32(3, 4))).keys() == {"(network)"}
    both = summary(parallel(a=layers.linear(4), b=layers.linear(2)), f32(3, 4))
    assert both.total.output == "3×4, 3×2"


def test_other_dtypes_are_named():
    found = summary(layers.linear(4), jax.ShapeDtypeStruct((3, 4), jnp.bfloat16))
    assert found.total.output == "3×4 bfloat16"


def test_dropout_gets_a_key():
    rows = by_path(summary(models.mlp((4,), 2, dropout_rate=0.5), f32(3, 2, 2, 1)))
    assert rows["drop_1"].forward > 0


def test_table_is_aligned():
    lines = str(summary(models.convnet(10), f32(128, 28, 28, 1))).splitlines()
    assert lines[0].split()[:3] == ["layer", "kind", "output"]
    assert set(lines[1]) == set(lines[-2]) == {"-", " "}
    assert lines[-1].startswith("total")
    assert "468,138" in lines[-1]
    assert len({len(line) for line in lines}) == 1
    (conv,) = (line for line in lines if line.startswith("block_1/conv_2"))
    assert conv.split()[-4:] == ["1.85", "G", "3.70", "G"]
