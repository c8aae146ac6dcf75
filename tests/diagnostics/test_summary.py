"""The summary's rows against closed forms."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import pytest

from fnn import chain, layers, losses, models, optimizers, parallel, residual, train
from fnn.compose import remat, repeat
from fnn.diagnostics import memory, summary
from fnn.diagnostics.summary_html import html_table


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


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            (4, 1024),
            r"a tuple of integers; .*write jax.ShapeDtypeStruct\(\(4, 1024\), jnp.float32\)",
        ),
        ([4, 1024], r"a list of integers; .*jax.ShapeDtypeStruct\(\(4, 1024\)"),
        ((f32(4, 2), "a"), "str 'a'"),
        ([[1.0, 2.0]], r"float 1.0; numpy.asarray"),
        (3, "int 3"),
    ],
)
def test_an_input_that_is_no_array(x, said):
    net = layers.linear(3)
    params, state = jax.eval_shape(net.init, jax.random.key(0), f32(4, 2))
    target = jax.ShapeDtypeStruct((4,), jnp.int32)
    for look in (
        lambda: summary(net, x),
        lambda: train.init(net, optimizers.sgd(0.1), jax.random.key(0), x),
        lambda: memory(net, losses.softmax_cross_entropy(), params, state, x, target),
    ):
        with pytest.raises(
            TypeError, match=rf"expected x of arrays or jax.ShapeDtypeStruct, got {said}"
        ):
            look()


def test_rows_of_a_loop_say_how_many_they_are():
    block = chain(norm=layers.layer_norm(), expand=remat(chain(dense=layers.linear(3))))
    found = summary(chain(first=layers.linear(3), blocks=repeat(block, 36)), f32(2, 3))
    assert [row.rounds for row in found.rows] == [1, 36, 36]
    kinds = [re.split("  +", line)[1] for line in str(found).splitlines()[2:5]]
    assert kinds == ["linear(3)", "layer_norm × 36", "linear(3) × 36"]
    assert "layer_norm × 36" in found.to_html()


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


def test_bytes_of_a_dense_network():
    rows = by_path(summary(models.mlp((5,), 3), f32(7, 2, 2, 1)))
    hidden, act, logits = rows["hidden_1"], rows["act_1"], rows["logits"]
    assert (hidden.cache, hidden.parameter_bytes, hidden.state_bytes) == (7 * 4 * 4, 100, 0)
    # relu keeps a mask, a byte an element; the last layer its input, which relu has not kept.
    assert (act.cache, logits.cache) == (7 * 5, 7 * 5 * 4)


def test_what_two_caches_hold_counts_for_the_first():
    net = chain(act=layers.sigmoid(), logits=layers.linear(2))
    found = summary(net, f32(7, 5))
    rows = by_path(found)
    assert (rows["act"].cache, rows["logits"].cache) == (7 * 5 * 4, 0)  # y is the next layer's x
    assert found.total.cache == 7 * 5 * 4
    both = parallel(a=chain(in_a=layers.linear(5), act=layers.tanh()), b=layers.linear(2))
    rows = by_path(summary(chain(act=layers.sigmoid(), both=both), f32(7, 5)))
    kept = {path: row.cache for path, row in rows.items()}
    assert kept == {"act": 140, "both/a/in_a": 0, "both/a/act": 140, "both/b": 0}
    # A linear layer keeps its x, which is the batch itself and there anyway.
    assert summary(layers.linear(3), f32(7, 5)).total.cache == 0


def test_what_remat_keeps_is_the_containers():
    body = chain(hidden=layers.linear(4), act=layers.tanh())
    found = summary(chain(first=layers.tanh(), block=remat(body), last=layers.tanh()), f32(3, 4))
    rows = by_path(found)
    assert (rows["block/hidden"].cache, rows["block/act"].cache) == (0, 0)
    # The block's x is what the first layer keeps anyway; its key is 8 bytes.
    assert (rows["first"].cache, found.containers.cache) == (48, 8)
    assert found.total.cache == 48 + 8 + 48


def test_loops_keep_every_round():
    found = summary(repeat(chain(act=layers.sigmoid()), 3), f32(2, 4))
    assert by_path(found)["block/act"].cache == found.total.cache == 3 * 2 * 4 * 4


class _Table(HTMLParser):
    """The cells of each row, and which tags there are with which attributes."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_html_says_what_the_text_says():
    net = chain(a=layers.linear(4), b=residual(chain(c=layers.batch_norm())))
    found = summary(net, f32(3, 4))._replace(
        rows=(summary(net, f32(3, 4)).rows[0]._replace(name="<&>"),)
    )
    page = _Table(found.to_html("What <it> is"))
    text = [line for line in str(found).splitlines() if not line.startswith("-")]
    assert [re.split(r"  +", line) for line in text] == [
        [cell for cell in row if cell] for row in page.rows
    ]
    assert "<caption>What &lt;it&gt; is</caption>" in found.to_html("What <it> is")
    assert "&lt;&amp;&gt;" in found.to_html()
    scopes = [attrs.get("scope") for tag, attrs in page.tags if tag == "th"]
    assert scopes == ["col"] * 10 + ["row"] * (len(page.rows) - 1)
    assert {tag for tag, _ in page.tags} == {
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td")
    }


def test_columns_are_escaped_too():
    page = html_table("what", ["a & b", "<c>"], [], None)
    assert '<th scope="col">a &amp; b</th><th scope="col">&lt;c&gt;</th>' in page
    assert "tfoot" not in page


def test_columns_of_words_are_told_from_numbers():
    page = html_table("what", ["a", "b", "c"], [["d", "e", "1"]], None, left=2)
    assert '<th scope="col" class="words">b</th><th scope="col">c</th>' in page
    assert '<td class="words">e</td><td>1</td>' in page


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"expected 2 cells in a row, got \['a'\]"):
        html_table("what", ["one", "two"], [["a"]], None)


# In a process of its own, whose memory at its highest can be read. The blocks as a loop, and one by one.
_LARGE = """
import resource, sys, time
import jax
from fnn import models
from fnn.diagnostics import summary

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before, start = used(), time.process_time()
net = models.gpt(50257, context=1024, layers=48, features=4096, heads=32, looped=bool(int(sys.argv[1])))
found = summary(net, jax.ShapeDtypeStruct((8, 1024), "int32"))
text, page = str(found), found.to_html()
print(found.total.parameters, found.total.cache, time.process_time() - start, used() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("looped", [1, 0])
def test_ten_billion_parameters_are_summarized_without_memory(looped):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "-c", _LARGE, str(looped)]
    run = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    parameters, cache, seconds, kibibytes = map(float, run.stdout.split())
    assert parameters > 10e9
    # x̂, q, k, v, … of 4 bytes: at least ten times the signal in each of 48 blocks.
    assert cache > 48 * 10 * 8 * 1024 * 4096 * 4
    assert seconds < 10
    assert kibibytes < 2**20


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
    assert conv.split()[-10:-6] == ["1.85", "G", "3.70", "G"]
    assert conv.split()[-6:] == ["12.2", "MiB", "36.0", "KiB", "0", "B"]
