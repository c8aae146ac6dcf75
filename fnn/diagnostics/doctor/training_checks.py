"""What some steps of training show: the rate, how far parameters move, and what is learned by heart."""

import math
from fnmatch import fnmatchcase

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.doctor.diagnosis import Verdict, not_asked, ok, sick
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
# What adam's rates learn 20 examples by heart with, tried one after another.
RATES = (3e-3, 1e-3, 1e-2)
# The largest share of wrong labels of sequences, whose first positions may not tell the next.
SEQUENCE_ERRORS = 0.15
REGRESSION = 0.1  # of the first loss, what must be left at most, where there are no classes


def frozen_parameters(patient: Patient) -> Verdict:
    """Whether every parameter moves in a trial run, but those that are meant to stay."""
    name = "frozen parameters"
    run = patient.trial
    still = [
        (path, bool((pushed == 0).all()))
        for path, moved, pushed in zip(run.names, run.moved.T, run.pushed.T, strict=True)
        if (moved == 0).all()
    ]
    meant = [path for path, _ in still if any(fnmatchcase(path, p) for p in patient.frozen)]
    stuck = [(path, starved) for path, starved in still if path not in meant]
    if not stuck:
        said = f"{len(run.names) - len(meant)} parameters move in {len(run.losses)} steps"
        return ok(name, said + (f", {', '.join(meant)} are meant to stay" if meant else ""))
    kept = [path for path, starved in stuck if not starved]
    path = kept[0] if kept else stuck[0][0]
    others = f", and {len(stuck) - 1} more" if len(stuck) > 1 else ""
    if kept:
        return sick(
            name,
            "frozen parameters",
            f"{path} has a gradient and does not move in {len(run.losses)} steps{others}",
            "take it out of the group that the optimizer freezes or masks, or say that it is meant to "
            f"stay, with frozen=({path!r},); a rate of 0 does this too",
            path=path,
            value=float(len(stuck)),
        )
    return sick(
        name,
        "no gradient",
        f"{path} is told a gradient of 0 in all of {len(run.losses)} steps{others}",
        "look at what is behind it: dead units, weights of 0, a stop_gradient, a backward pass that "
        "gives 0",
        path=path,
        value=float(len(stuck)),
    )


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
        return ok(name, f"{own:g}, and {best:.1g} is suggested by a range test", own / best)
    other = patient.try_rate(best)
    said = (
        f"{own:g} takes the loss from {run.first:.3g} to {run.last:.3g} in {len(run.losses)} steps, "
        f"{best:.1g} to {other.last:.3g}"
    )
    learned = other.last <= LEARNED * other.first
    climbs = own > best and run.last > CLIMBED * run.first and other.last < other.first
    if not climbs and not (learned and _worse(run, other, own > best)):
        return ok(name, said, own / best)
    times = own / best
    illness, size = ("rate too high", times) if times > 1 else ("rate too low", 1 / times)
    return sick(
        name,
        illness,
        f"{said}: it is some {size:.0f} times too {'large' if times > 1 else 'small'}",
        f"take a rate near {best:.1g}, and see range_table(range_test(…))",
        value=times,
    )


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

    Of kernels alone: a bias that starts at 0 moves by any number of times its size. Source: the lecture
    notes of CS231n, "Ratio of weights:updates".
    """
    name = "updates"
    ratios = _ratios(patient.trial)
    if not ratios:
        return not_asked(name, "no kernel has a size and moves")
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
        kernel = path.rpartition("/")[2] not in ("b", "bias", "scale", "gain", "slope")
        after = slice(len(moved) // 4, None)
        if kernel and (sizes[after] > 0).all() and (moved[after] != 0).any():
            found[path] = float(np.median(moved[after] / sizes[after]))
    return found


def overfit(patient: Patient) -> Verdict:
    """Whether the network learns a few examples by heart, with adam at a sound rate.

    Source: the lecture notes of CS231n, "Overfit a tiny subset of data": a network that cannot has a
    fault, whatever its accuracy on the rest. What counts is the better of its two passes.
    """
    name = "overfit"
    positions = max(1, int(np.prod(patient.target.shape[1:]))) if patient.classes else 1
    x, target = thinned((patient.x, patient.target), max(2, patient.budget.overfit // positions))
    count, steps = example_count((x, target)), patient.budget.overfit_steps
    run = tried(patient.net, patient.loss, adam(), count, steps)
    left, tries = math.inf, []
    for own in RATES:
        after = run(patient.params, patient.state, (x, target), patient.key, own)
        left = min(left, _left(patient, after, x, target))
        tries.append(after)
        if left <= _allowed(patient, positions):
            break
    first, last = tries[0].losses[0], min(each.last for each in tries)
    said = f"{count} examples, {steps} steps of adam: loss {first:.3g} to {last:.3g}"
    what = "labels wrong" if patient.classes else "of the loss left"
    said += f", {left:.0%} {what}"
    if left <= _allowed(patient, positions):
        return ok(name, said, left)
    return sick(
        name,
        "cannot overfit",
        said,
        "do not train on more before it learns these by heart: see the verdicts above for what keeps "
        "gradients from the parameters, and take more units if there is nothing",
        value=left,
    )


def _allowed(patient: Patient, positions: int) -> float:
    if patient.classes is None:
        return REGRESSION
    return SEQUENCE_ERRORS if positions > 1 else 0.0


def _left(patient: Patient, after: Trial, x: PyTree, target: Array) -> float:
    """The share of wrong labels, of the better of both passes; without classes, of the first loss."""
    if patient.classes is None:
        return float(after.last / max(after.losses[0], 1e-30))

    @jax.jit
    def errors(params: PyTree, state: PyTree, x: PyTree) -> Array:
        trained, _, _ = patient.net.forward(params, state, x, patient.key)
        said = (patient.net.predict(params, state, x), trained)
        return jnp.stack([(each.argmax(axis=-1) != target).mean() for each in said]).min()

    return float(errors(after.params, after.state, x))
