"""Beside the page of a run: event files, opened by TensorBoard's own reader and served by its server."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from fnn import compose, data, layers, logs, losses, optimizers, train
from fnn.diagnostics import report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs on digits: the folder, and what the reports said."""
    import jax

    pytest.importorskip("tensorboardX")
    folder = tmp_path_factory.mktemp("runs") / "digits"
    digits = data.load("digits")
    x, target = digits.train
    x = np.asarray(x, np.float32).reshape(len(x), -1)[:256] / 16
    examples = x, np.asarray(target[:256])
    net = compose.chain(hidden=layers.linear(16), act=layers.relu(), logits=layers.linear(10))
    loss, optimizer = losses.softmax_cross_entropy(), optimizers.adam(1e-2)
    start = train.init(net, optimizer, jax.random.key(0), x[:1])
    writers = (
        report.live(folder / "report.html", epochs=2),
        logs.tensorboard(folder, histograms=True),
    )
    said = []
    with logs.tee(*writers) as log:
        for each in train.fit(
            net, loss, optimizer, start, examples, epochs=2, batch_size=64, validation=examples
        ):
            log(each)
            said.append((each.steps, float(each.info.loss.mean()), float(each.evaluation.loss)))
    return folder, said


def test_the_page_lies_beside_them(run):
    folder, said = run
    text = (folder / "report.html").read_text("utf-8")
    assert f"finished; epoch 2 of 2, step 8, loss {said[-1][1]:.4g}" in text
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1


def test_its_reader_reads_them(run):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, said = run
    events = module.EventAccumulator(str(folder), size_guidance={"histograms": 0})
    events.Reload()
    for tag, i in (("loss", 1), ("evaluation/loss", 2)):
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        np.testing.assert_allclose(found, [(each[0], each[i]) for each in said], rtol=1e-6)
    assert "params/hidden/w" in events.Tags()["histograms"]


def test_its_server_serves_them(run):
    pytest.importorskip("tensorboard")
    folder, said = run
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder.parent]
    command += ["--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/data/plugin"

    def get(path):
        with urllib.request.urlopen(f"{url}/{path}", timeout=10) as answer:
            return json.load(answer)

    try:
        end = time.monotonic() + 90
        tags = {}
        while "evaluation/loss" not in tags.get("digits", {}):
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < end, f"the server told of no run in time, but {tags}"
            time.sleep(0.5)
            try:
                tags = get("scalars/tags")
            except urllib.error.URLError:
                continue  # it is still starting
        for tag, i in (("loss", 1), ("evaluation/loss", 2)):
            found = get(f"scalars/scalars?run=digits&tag={tag}")
            np.testing.assert_allclose(
                [(step, value) for _, step, value in found],
                [(each[0], each[i]) for each in said],
                rtol=1e-6,
            )
        assert "params/hidden/w" in get("histograms/tags")["digits"]
    finally:
        server.terminate()
        server.wait(30)
