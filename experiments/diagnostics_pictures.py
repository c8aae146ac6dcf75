"""The pictures of docs/diagnostics.md: what the doctor, the report page and the plots look like.

    python -m experiments.diagnostics_pictures [--out docs/diagnostics]

Half a minute on two cores of a 2.5 GHz Xeon. Networks of scikit-learn's digits; the pages are
photographed by Debian's Chromium, which must be on the PATH.
"""

import argparse
import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnn import chain, data, layers, train
from fnn.diagnostics import doctor, filter_normalized, health, loss_on_plane, plots, report, summary
from fnn.extras import require
from fnn.initializers import constant
from fnn.layer import Layer
from fnn.losses import softmax_cross_entropy
from fnn.models import mlp
from fnn.optimizers import adam, sgd

LOSS = softmax_cross_entropy()
COLORS = 64  # of a picture, so that it is small on disk
WIDTH = 900  # of a window, in pixels


def main(argv: Sequence[str] | None = None) -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/diagnostics"))
    out = parser.parse_args(argv).out
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("expected chromium on the PATH, found none: apt-get install chromium")
    out.mkdir(parents=True, exist_ok=True)
    dataset, centre = data.centred(data.load("digits"))
    x, y = dataset.train
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder)
        net, state = trained(dataset, pages / "report.html")
        found = doctor(mlp((64, 32), 10), LOSS, (x, y), optimizer=sgd(10.0))
        (pages / "doctor.html").write_text(found.to_html("mlp((64, 32), 10), sgd(10.0)"), "utf-8")
        (pages / "health.html").write_text(ailing(x, y), "utf-8")
        for name, height in (("report", 760), ("doctor", 640), ("health", 620)):
            (out / f"{name}.png").write_bytes(photographed(browser, pages, name, height))
    images, target = dataset.test.x, dataset.test.y
    logits = net.predict(state.params, state.state, images)
    chances = np.asarray(jax.nn.softmax(logits))
    shown = centre.mean + images
    figure = plots.mistakes(shown[..., 0], target, chances, dataset.classes, most=8)
    (out / "mistakes.png").write_bytes(small(plots.png(figure, dpi=90)))
    first, second = (filter_normalized(jax.random.key(i), state.params) for i in (0, 1))
    places = np.linspace(-1, 1, 25, dtype=np.float32)
    look = loss_on_plane(net, LOSS)
    plane = look(state.params, state.state, x, y, (first, second), places, places)
    figure = plots.loss_plane(places, places, np.asarray(plane.losses))
    (out / "loss_plane.png").write_bytes(small(plots.png(figure, dpi=80)))


def trained(dataset: data.Dataset, path: Path) -> tuple[Layer, train.TrainState]:
    """A small network after ten epochs, with the page of its run."""
    net, optimizer = mlp((64, 32), len(dataset.classes)), adam(3e-3)
    state = train.init(net, optimizer, jax.random.key(0), dataset.train.x)
    config = {"model": "mlp((64, 32), 10)", "optimizer": "adam(3e-3)", "batch size": 64}
    with report.live(path, title="mlp on digits", config=config, epochs=10) as page:
        for each in train.fit(
            net,
            LOSS,
            optimizer,
            state,
            dataset.train,
            epochs=10,
            batch_size=64,
            validation=dataset.test,
            metrics={"accuracy": train.accuracy},
        ):
            page(each)
            state = each.train_state
        page.add(report.summary(summary(net, dataset.train.x)))
    return net, state


def ailing(x: np.ndarray, y: np.ndarray) -> str:
    """The health of a network in which a bias keeps units of the second layer off."""
    net = chain(
        flat=layers.flatten(),
        hidden_1=layers.linear(64),
        act_1=layers.relu(),
        hidden_2=layers.linear(32, bias_init=constant(-1.0)),
        act_2=layers.relu(),
        logits=layers.linear(10),
    )
    params, state = net.init(jax.random.key(0), x)
    section = report.health(health(net, LOSS)(params, state, x, y))
    return report.page("A bias of -1", [section], status=report.Status("sick", "dead units"))


def photographed(browser: str, folder: Path, name: str, height: int) -> bytes:
    """The upper part of a page, as it shows in a window of this height."""
    picture = folder / f"{name}.png"
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"),
        *(f"--window-size={WIDTH},{height}", f"--screenshot={picture}"),
        (folder / f"{name}.html").as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return small(picture.read_bytes())


def small(picture: bytes) -> bytes:
    """The same picture in few colors."""
    image: Any = require("PIL.Image", "experiments")
    file = io.BytesIO()
    image.open(io.BytesIO(picture)).convert("RGB").quantize(COLORS).save(
        file, format="png", optimize=True
    )
    return file.getvalue()


if __name__ == "__main__":
    main()
