"""What the loss says before any step: of the loss itself, and of the first logits."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.doctor.diagnosis import Verdict, not_asked, ok, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.layer import Array, PyTree
from fnn.losses import expected_initial_loss
from fnn.train.examples import example_count

# A first loss may be so many times log C, or so small a part of it. He's weights in the last layer give
# up to 1.6 times on the digits; a factor of ten too large gives 5 times and more.
HIGH, LOW = 2.5, 0.4
_SAME = 1e-4  # of two losses that should be equal, in float32


def reduction(patient: Patient) -> Verdict:
    """Whether the loss is one number an example, which does not depend on how many there are.

    A sum over the batch in the loss makes the gradient N times as large, a mean in it N times as small,
    for the train step takes the mean itself. Told by taking the losses of a half of the examples alone.
    """
    name = "loss reduction"
    x, target = patient.some(min(patient.count, 16))
    if patient.loss.chance is None and patient.classes is None:
        return ok(name, "a loss an example")
    count = example_count((x, target))
    half = count // 2

    @jax.jit
    def both(params: PyTree, state: PyTree, x: PyTree, target: Array) -> tuple[Array, Array]:
        prediction, _, _ = patient.net.forward(params, state, x, patient.key)
        losses, _ = patient.loss.forward(prediction, target)
        first = jax.tree.map(lambda leaf: leaf[:half], (prediction, target))
        return losses, patient.loss.forward(*first)[0]

    losses = both(patient.params, patient.state, x, target)
    whole, alone = (np.asarray(each, np.float64) for each in losses)
    part = whole[:half]
    scale = np.abs(part).max(initial=1e-30)
    if half < 1 or not np.isfinite(scale) or np.abs(part - alone).max() <= _SAME * scale:
        return _against_chance(patient, whole)
    factor = float(np.abs(alone).sum() / max(np.abs(part).sum(), 1e-30))
    more = factor > 1
    return sick(
        name,
        "wrong loss reduction",
        f"the losses of {half} examples are {factor:.3g} times as large without the other "
        f"{count - half}: the loss "
        + ("takes a mean" if more else "sums")
        + " over the batch itself",
        "return the loss of each example by itself, of shape (N,): train.step takes the mean, and a rate "
        f"means the same for any batch size only so; as it is, gradients are N times too "
        f"{'small' if more else 'large'}",
        path=patient.loss.name,
        value=factor,
    )


def misshapen(patient: Patient) -> Verdict | None:
    """The verdict on a loss that does not give one number an example; None if it does."""
    given = (patient.params, patient.state, patient.x)
    losses = jax.eval_shape(_losses(patient), *given)
    if losses.shape[:1] == (patient.count,):
        return None
    value = float(jax.jit(_losses(patient))(*given).mean())
    said = f"{patient.count} examples have losses of shape {losses.shape}"
    if patient.loss.chance is not None and patient.classes is not None:
        times = value / expected_initial_loss(patient.loss, patient.classes)
        said += f", {times:.3g} times what chance gives"
    return sick(
        "loss reduction",
        "wrong loss reduction",
        said,
        "return the loss of each example, of shape (N,), without a mean or a sum over the batch: "
        "train.step takes the mean, with weights where there are some",
        path=patient.loss.name,
        value=value,
    )


def _losses(patient: Patient) -> Callable[..., Array]:
    def losses(params: PyTree, state: PyTree, x: PyTree) -> Array:
        prediction, _, _ = patient.net.forward(params, state, x, patient.key)
        return jnp.asarray(patient.loss.forward(prediction, patient.target)[0])

    return losses


def _against_chance(patient: Patient, losses: np.ndarray) -> Verdict:
    """Whether the loss is a sum over the positions of an example, which its size tells."""
    positions = int(np.prod(patient.target.shape[1:]))
    if positions > 1 and losses.ndim == 1 and patient.loss.chance and patient.classes:
        times = float(losses.mean()) / expected_initial_loss(patient.loss, patient.classes)
        if positions / 2 < times < 2 * positions:
            return sick(
                "loss reduction",
                "wrong loss reduction",
                f"an example's loss is {times:.3g} times chance, and it has {positions} positions: they "
                "are summed",
                "take the mean over the positions, so that a rate means the same at any length",
                path=patient.loss.name,
                value=times,
            )
    return ok("loss reduction", "a loss an example, whatever the others are")


def initial_loss(patient: Patient) -> Verdict:
    """Whether the first loss is what a network that knows nothing has: log C of a cross-entropy.

    Source: the lecture notes of CS231n, "Babysitting the learning process": look for the correct loss at
    chance performance.
    """
    name = "initial loss"
    value = patient.start.value
    if not math.isfinite(value):
        return sick(
            name,
            "not finite",
            f"the first loss is {value}",
            "train.nonfinite.first_nonfinite names the layer that it comes from; look at the data first",
            value=value,
        )
    if patient.loss.chance is None or patient.classes is None:
        said = f"{patient.loss.name} has no chance level; the first loss is {value:.4g}"
        if patient.classes is not None:
            said += "; if it is a loss of classes, give it one: Loss(…, chance=…)"
        return not_asked(name, said)
    expected = expected_initial_loss(patient.loss, patient.classes)
    times = value / expected
    said = f"{value:.4g}, and {expected:.4g} is chance with {patient.classes} classes"
    if times > HIGH:
        return sick(
            name,
            "initial loss too high",
            f"{said}: {times:.3g} times",
            "the network is sure of what it cannot know: scale and centre the data, start the last layer "
            "with smaller weights, and see that the loss is a mean and not a sum",
            value=times,
        )
    if times < LOW:
        return sick(
            name,
            "initial loss too low",
            f"{said}: {times:.3g} times",
            "it knows what it cannot know, if it is not trained: look for a loss that is divided twice, "
            "and for labels that are among the features",
            value=times,
        )
    return ok(name, said, times)
