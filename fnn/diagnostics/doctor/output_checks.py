"""Whether the last layer leaves the logits as they are, for a loss that is of logits."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.doctor.diagnosis import Verdict, not_asked, ok, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.losses import Loss
from fnn.tap import Passage

_SUM = 1e-3  # of 1, of probabilities in float32; in narrower floats their rounding is added
_FAR = 5.0  # from where on a bounded function is flat
_FLAT = 1.0  # that outputs for inputs from _FAR on, which are some tens apart, differ by


def of_logits(loss: Loss, classes: int) -> bool:
    """Whether the loss takes logits: one that knows nothing says 0 of every class, and not 1 / C."""
    if loss.chance is None:
        return False
    prediction, _ = loss.chance(classes)
    return isinstance(prediction, np.ndarray | jax.Array) and not np.any(np.asarray(prediction))


def output(patient: Patient) -> Verdict:
    """Whether the last leaf layer is an activation or a noise, where the loss wants logits.

    A loss of logits, such as `softmax_cross_entropy`, has the softmax in it. After another one all
    logits are within 0 and 1, so that the loss cannot come near 0 and gradients are small; after relu no
    class can be ruled out. Told by what the layer does: its outputs are positive and sum to 1, or are
    the logarithms of such, or are bounded on one side; and by its name, of noise.
    """
    name = "output"
    if patient.classes is None or patient.loss.chance is None:
        return not_asked(name, f"{patient.loss.name} is no loss of classes with a chance level")
    if not of_logits(patient.loss, patient.classes):
        return ok(name, f"{patient.loss.name} is not of logits")
    found = _last(patient)
    if found is None:
        return not_asked(name, "the prediction is the output of no leaf layer")
    path, last = found
    what = _shaped(last)
    if not what:
        return ok(name, f"{path} ({last.layer.name}) gives the logits")
    return sick(
        name,
        "activation on the logits",
        f"{path} ({last.layer.name}) is the last layer, and {what}; {patient.loss.name} takes logits",
        f"leave {path} out"
        + (
            ", or put it before the last linear map"
            if "noise" in what or "bounded" in what
            else f": {patient.loss.name} has it within; for probabilities, apply it to what predict "
            "gives, or take losses.cross_entropy, which is of probabilities"
        ),
        path=path,
    )


def _last(patient: Patient) -> tuple[str, Passage] | None:
    """The leaf layer whose output is the prediction."""
    x, _ = patient.some(min(patient.batch_size, patient.count, 64))
    forward = jax.jit(lambda *given: patient.net.forward(*given)[0])
    prediction = np.asarray(forward(patient.params, patient.state, x, patient.key), np.float64)
    for path, each in reversed(patient.seen.items()):
        if hasattr(each.y, "shape") and each.y.shape == prediction.shape:
            y = np.asarray(each.y, np.float64)
            if np.allclose(y, prediction, rtol=1e-4, atol=1e-6, equal_nan=True):
                return path, each
    return None


def _shaped(last: Passage) -> str:
    """What the layer does to logits, in words; empty for nothing."""
    y = np.asarray(last.y, np.float64)
    slack = _SUM + 2 * y.shape[-1] * float(jnp.finfo(last.y.dtype).eps)
    if (y >= 0).all() and np.abs(y.sum(axis=-1) - 1).max() <= slack:
        return "its outputs are probabilities"
    if (y <= 0).all() and np.abs(np.exp(y).sum(axis=-1) - 1).max() <= slack:
        return "its outputs are logarithms of probabilities"
    if "dropout" in last.layer.name or "noise" in last.layer.name:
        return "its noise is on the logits"
    elementwise = hasattr(last.x, "shape") and last.x.shape == last.y.shape
    if (
        jax.tree.leaves(last.params)
        or not elementwise
        or not jnp.issubdtype(last.x.dtype, jnp.floating)
    ):
        return ""  # a pooling gives the same of many numbers, and is no activation
    size = _FAR * (1 + np.abs(np.random.default_rng(0).normal(0, 3, last.x.shape)))
    for sign, side in ((1, "above"), (-1, "below")):
        given = jnp.asarray(sign * size, last.x.dtype)
        got = np.asarray(last.layer.predict(last.params, last.state, given), np.float64)
        if np.ptp(got) < _FLAT:
            return f"its outputs are bounded {side}"
    return ""
