"""Report pages for the tests: the reports as `fit` would make them, and sections of every kind."""

from collections import namedtuple
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from pictures import every_picture

from fnn import compose, layers, losses
from fnn.diagnostics import health, report, summary
from fnn.diagnostics.doctor.diagnosis import Verdict
from fnn.train import Evaluation, Info, Report, TrainState

HOSTILE = """</pre></script><script>document.title='x'</script><img src=x onerror="x()">'&"""
LAYER = """<img src=x onerror="x()">&"""  # a path has its own "/"


def fitted(step, *, steps=3, loss=None, evaluated=None):
    """The report of the `steps` steps that end at step `step`, of six an epoch."""
    losses_ = np.linspace(2, 1, steps, dtype=np.float32) / step if loss is None else np.array(loss)
    info = Info(
        losses_,
        {"accuracy": np.full(steps, 1 - 1 / step, np.float32)},
        np.full(steps, 3.0, np.float32),
        None,
        np.ones(steps, bool),
    )
    evaluation = None
    if evaluated is not None:
        evaluation = Evaluation(np.float32(evaluated), {"accuracy": np.float32(0.875)}, None, {})
    state = TrainState({}, {}, {}, jax.random.key(0), jnp.int32(step))
    return Report(state, info, step, step / 6, evaluation, 0.5, 16 * steps, {})


Settings = namedtuple("Settings", "rate nested")
CONFIG = Settings(1e-3, {"hidden": 32, "seeds": [0, 1], "name": HOSTILE, "warmup": None})


@cache
def every_section():
    """One of each kind, hostile names among them; made once."""
    hidden = {LAYER: layers.linear(6)}
    net = compose.chain(**hidden, act=layers.relu(), logits=layers.linear(3))
    x = jnp.ones((4, 5))
    params, state = net.init(jax.random.key(0), x)
    look = health(net, losses.softmax_cross_entropy(), spectra=0)
    found = look(params, state, x, np.array([0, 1, 2, 0]))
    verdicts = [
        Verdict("gradient", "ok", "agrees to 1e-12"),
        Verdict("data", "not asked", "no data was given"),
        Verdict("signal", "sick", HOSTILE, "dead units", HOSTILE, HOSTILE, 0.5),
    ]
    return [
        report.verdicts(verdicts),
        report.health(found),
        report.summary(summary(net, x)),
        report.text("Health as text", found),
        report.text(f"text of {HOSTILE}", HOSTILE, note=HOSTILE),
        report.table("Table", ["name", HOSTILE], [[HOSTILE, HOSTILE]], caption=HOSTILE),
        report.facts(HOSTILE, {HOSTILE: HOSTILE}, note=HOSTILE),
        *(
            report.picture(f"picture of {name}", figure, said)
            for name, (figure, said) in every_picture().items()
        ),
    ]
