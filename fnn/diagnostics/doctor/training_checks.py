"""What some steps of training show: the rate, how far parameters move, and what is learned by heart."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.doctor.diagnosis import Verdict, not_asked, ok, sick
from fnn.diagnostics.doctor.output_checks import of_logits
from fnn.diagnostics.doctor.patient import Patient, thinned
from fnn.diagnostics.doctor.trial import Trial, tried
from fnn.layer import Array, PyTree
from fnn.optimizers import adam
from fnn.train.examples import example_count
from fnn.train.range_test import range_test
from fnn.train.state import TrainState

# ‖Δθ‖ / ‖θ‖ of a layer's kernel in a step, the median of those after the first quarter of the trial.
# The notes of CS231n call 1e-3 sound. In the sound networks of `experiments.doctor_table`, which are
# small and at their start, where steps are largest, kernels move by 6e-4 (a convnet, adam) to 5e-2 (a
# linear classifier, sgd; a gpt, adamw): the upper bound is six times the largest seen. The lower one is
# far below, as a slow layer still learns; below 1e-6, float32 adds hardly a bit of a step.
RATIO_LOW, RATIO_HIGH = 1e-6, 0.3
# Of the first steps, which are the largest, one that is longer than the kernel itself: it starts anew.
# In the sound networks, none is more than a tenth (of a gpt, with adamw).
RATIO_FIRST = 1.0
# The rate that is suggested is rough, and a low rate is slow, not wrong: only what
# is so many times off is looked at, by a run with each of the two.
TOO_HIGH, TOO_LOW = 5.0, 50.0
# Then, if the run with the suggestion learns, which is to get below a part of the first loss: a rate is
# too low if its run stays above another part, …
LEARNED, STUCK = 0.85, 0.9
# … and too high if its run ends so many times higher, or comes down by less than a part of the way.
WORSE, WAY = 1.5, 0.5
# It is too high as well if its run climbs by so much while the other, however slowly, comes down.
CLIMBED = 1.1
# A rate near the suggested one is not called right if its run stays above this part of the first loss.
HARDLY = 0.97
# What adam's rates learn 20 examples by heart with, tried one after another.
RATES = (3e-3, 1e-3, 1e-2)
# The largest share of wrong labels of sequences, whose first positions may not tell the next.
SEQUENCE_ERRORS = 0.15
# Of the first loss, what may be left of one that can be 0, with all labels right. A softmax before the
# loss leaves more than a half of log 10, the sound networks a twenty-fifth at most (a linear classifier).
LOSS_LEFT = 0.3
_SURE, _ZERO = 50.0, 1e-3  # logits, and what a loss of them is at most that can be 0
REGRESSION = 0.1  # of the first loss, what must be left at most, where there are no classes


def rate(patient: Patient) -> Verdict:
    """Whether the optimizer's rate is within what a range test finds to work.

    Where it is far from what `train.range_test` suggests, a short run with each of the two decides.
    """
    name = "rate"
    if patient.optimizer is None:
        return not_asked(name, "no optimizer was given")
    if len(set(patient.rates.values())) != 1:
        rates = ", ".join(f"{p} = {v:g}" for p, v in patient.rates.items())
        return not_asked(name, f"the optimizer has not one rate: {rates or 'a schedule drives it'}")
    if not math.isfinite(patient.start.value):
        return not_asked(name, "the first loss is not finite")
    own = next(iter(patient.rates.values()))
    best = _suggested(patient)
    run = patient.trial
    if best is None:
        if run.last < 0.9 * run.first:
            return ok(name, f"{own:g} lowers the loss from {run.first:.3g} to {run.last:.3g}", own)
        return sick(
            name,
            "no rate works",
            f"none from 1e-5 to 10 lowers the loss of {run.first:.3g}",
            "the fault is not the rate: see the other verdicts",
            value=own,
        )
    if best / TOO_LOW <= own <= best * TOO_HIGH:
        if run.last >= HARDLY * run.first:
            return not_asked(
                name,
                f"{own:g} is near the {best:.1g} of a range test, and hardly lowers the loss of "
                f"{run.first:.3g} in {len(run.losses)} steps: the fault is not the rate",
            )
        return ok(name, f"{own:g}, and {best:.1g} is suggested by a range test", own / best)
    other = patient.try_rate(best)
    said = (
        f"{own:g} takes the loss from {run.first:.3g} to {run.last:.3g} in {len(run.losses)} steps, "
        f"{best:.1g} to {other.last:.3g}"
    )
    learned = other.last <= LEARNED * other.first
    climbs = own > best and run.last > CLIMBED * run.first and other.last < other.first
    if not climbs and not (learned and _worse(run, other, own > best)):
        if min(run.last, other.last) >= STUCK * run.first:
            return not_asked(name, f"{said}: neither learns, and the fault is not the rate")
        return ok(name, said, own / best)
    times = own / best
    illness, size = ("rate too high", times) if times > 1 else ("rate too low", 1 / times)
    return sick(
        name,
        illness,
        f"{said}: it is some {_round(size)} times too {'large' if times > 1 else 'small'}",
        f"take a rate near {best:.1g}, and see range_table(range_test(…))",
        value=times,
    )


def _round(size: float) -> str:
    """Two digits, without an exponent."""
    return f"{float(f'{size:.2g}'):,g}" if size < 1e6 else f"{size:.0e}"


def _worse(run: Trial, other: Trial, high: bool) -> bool:
    """Whether the run with the own rate is so much worse than the one with the suggested rate."""
    if not high:
        return run.last > STUCK * run.first
    return run.last > WORSE * other.last or run.first - run.last < WAY * (other.first - other.last)


def _suggested(patient: Patient) -> float | None:
    memory = patient.by.init(patient.params)
    start = TrainState(patient.params, patient.state, memory, patient.key, jnp.zeros((), jnp.int32))
    found = range_test(
        patient.net,
        patient.loss,
        patient.by,
        start,
        (patient.x, patient.target),
        batch_size=patient.batch_size,
        steps=patient.budget.rates,
    )
    return found.suggestion


def updates(patient: Patient) -> Verdict:
    """How far a step moves each layer's parameters, as a part of their size: the median of a trial run.

    And the largest of its first steps, which a kernel that has grown by them hides later. Of kernels
    alone: a bias that starts at 0 moves by any number of times its size. Source: the lecture
    notes of CS231n, "Ratio of weights:updates".
    """
    name = "updates"
    ratios = _ratios(patient.trial)
    if not ratios:
        return not_asked(name, "no kernel has a size and moves")
    first = _first_ratios(patient.trial)
    far = max(first, key=lambda path: first[path], default="")
    if far and (first[far] > RATIO_FIRST or not math.isfinite(first[far])):
        return sick(
            name,
            "updates too large",
            f"one of the first steps moves it by {first[far]:.2g} times its size",
            "about 1e-3 is sound: lower the rate, or begin with a warmup, or with larger weights if they "
            "are tiny",
            path=far,
            value=first[far],
        )
    low, high = (take(ratios, key=lambda path: ratios[path]) for take in (min, max))
    said = f"a step moves kernels by {ratios[low]:.1e} to {ratios[high]:.1e} of their size"
    if ratios[high] > RATIO_HIGH or not math.isfinite(ratios[high]):
        return sick(
            name,
            "updates too large",
            f"a step moves it by {ratios[high]:.1e} of its size",
            "about 1e-3 is sound: lower the rate",
            path=high,
            value=ratios[high],
        )
    if ratios[low] < RATIO_LOW:
        return sick(
            name,
            "updates too small",
            f"a step moves it by {ratios[low]:.1e} of its size",
            "about 1e-3 is sound: raise the rate, or look for what keeps the gradient from it",
            path=low,
            value=ratios[low],
        )
    return ok(name, said, ratios[high])


def _ratios(run: Trial) -> dict[str, float]:
    found = {}
    for path, moved, sizes in zip(run.names, run.moved.T, run.sizes.T, strict=True):
        after = slice(len(moved) // 4, None)
        if _is_kernel(path) and (sizes[after] > 0).all() and (moved[after] != 0).any():
            found[path] = float(np.median(moved[after] / sizes[after]))
    return found


def _first_ratios(run: Trial) -> dict[str, float]:
    """The largest of the first quarter, of kernels that do not start at 0."""
    found = {}
    for path, moved, sizes in zip(run.names, run.moved.T, run.sizes.T, strict=True):
        before = slice(None, max(1, len(moved) // 4))
        if _is_kernel(path) and (sizes[before] > 0).all():
            found[path] = float((moved[before] / sizes[before]).max())
    return found


def _is_kernel(path: str) -> bool:
    return path.rpartition("/")[2] not in ("b", "bias", "scale", "gain", "slope")


def overfit(patient: Patient) -> Verdict:
    """Whether the network learns a few examples by heart, with adam at a sound rate.

    Source: the lecture notes of CS231n, "Overfit a tiny subset of data": a network that cannot has a
    fault, whatever its accuracy on the rest. What counts is the better of its two passes. Labels must be
    right, and the loss near 0 where it can be, as a softmax cross-entropy of whole labels.
    """
    name = "overfit"
    positions = max(1, int(np.prod(patient.target.shape[1:]))) if patient.classes else 1
    x, target = thinned((patient.x, patient.target), max(2, patient.budget.overfit // positions))
    count, steps = example_count((x, target)), patient.budget.overfit_steps
    run = tried(patient.net, patient.loss, adam(), count, steps)
    to_zero = positions == 1 and _reaches_zero(patient, target)
    tries, left = [], Left(math.inf, math.inf)
    for own in RATES:
        after = run(patient.params, patient.state, (x, target), patient.key, own)
        left = min(left, _left(patient, after, x, target))
        tries.append(after)
        if _learned(patient, left, positions, to_zero):
            break
    first, last = tries[0].losses[0], min(each.last for each in tries)
    said = f"{count} examples, {steps} steps of adam: loss {first:.3g} to {last:.3g}"
    what = "labels wrong" if patient.classes else "of the loss left"
    said += f", {left.wrong:.0%} {what}"
    if _learned(patient, left, positions, to_zero):
        return ok(name, said, left.wrong)
    if left.wrong <= _allowed(patient, positions):
        return sick(
            name,
            "cannot overfit",
            f"{said}, and {left.loss:.0%} of the loss is left, which could be 0",
            "look for what keeps the logits small: an activation or a normalization after the last "
            "linear map, a temperature, a loss that is not of logits",
            value=left.loss,
        )
    return sick(
        name,
        "cannot overfit",
        said,
        "do not train on more before it learns these by heart: see the verdicts above for what keeps "
        "gradients from the parameters, and take more units if there is nothing",
        value=left.wrong,
    )


class Left(NamedTuple):
    """What is not learned, of the better of both passes."""

    wrong: float  # the share of wrong labels; without classes, of the first loss
    loss: float  # of the first loss


def _learned(patient: Patient, left: Left, positions: int, to_zero: bool) -> bool:
    near = not to_zero or left.loss <= LOSS_LEFT
    return left.wrong <= _allowed(patient, positions) and near


def _allowed(patient: Patient, positions: int) -> float:
    if patient.classes is None:
        return REGRESSION
    return SEQUENCE_ERRORS if positions > 1 else 0.0


def _reaches_zero(patient: Patient, target: Array) -> bool:
    """Whether the loss of logits that are sure of the right class is 0, as it is without smoothing."""
    if patient.classes is None or not of_logits(patient.loss, patient.classes):
        return False
    sure = _SURE * (2 * jax.nn.one_hot(target, patient.classes) - 1)
    return bool(jnp.abs(patient.loss.forward(sure, target)[0]).max() < _ZERO)


def _left(patient: Patient, after: Trial, x: PyTree, target: Array) -> Left:
    """What is left, of the better of both passes."""
    first = max(float(after.losses[0]), 1e-30)
    if patient.classes is None:
        return Left(after.last / first, after.last / first)

    @jax.jit
    def told(params: PyTree, state: PyTree, x: PyTree) -> Array:
        trained, _, _ = patient.net.forward(params, state, x, patient.key)
        both = (patient.net.predict(params, state, x), trained)
        return jnp.stack(
            [
                jnp.stack(
                    [
                        (y.argmax(axis=-1) != target).mean(),
                        patient.loss.forward(y, target)[0].mean(),
                    ]
                )
                for y in both
            ]
        )

    errors, losses = np.asarray(told(after.params, after.state, x), np.float64).T
    return Left(float(errors.min()), float(np.nan_to_num(losses, nan=np.inf).min()) / first)
