"""What is wrong with the examples: their numbers, their labels, and what the two have to do with it."""

import math
from typing import Any

import jax
import numpy as np

from fnn.data import duplicates
from fnn.data.leakage import SIMILARITY, leakage
from fnn.diagnostics.doctor.diagnosis import Verdict, not_asked, ok, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.diagnostics.doctor.trial import tried
from fnn.optimizers import adam

# |mean| / deviation of all inputs: pixels in [0, 1] have about 1, and so have grey levels 0 … 255.
CENTRED = 3.0
# Of the deviation of all inputs, and the largest of a feature by that of a feature in the middle.
NARROW, WIDE, UNEVEN = 1e-2, 20.0, 100.0
# The largest class by the smallest.
IMBALANCE = 10.0
DUPLICATES = 0.02  # of the examples
PAIRS = (
    20_000_000  # of examples of both parts, beyond which only those that are equal are looked for
)
DEVIATIONS = 4.0  # above chance, from where labels have to do with inputs
FEWEST = 50  # examples, below which chance is too wide
_HELD_OUT = 4  # every fourth example
_STEPS = 300


def numbers(patient: Patient) -> list[Verdict]:
    """Whether the inputs are finite, centred and of one size. Source: LeCun et al. (1998)."""
    name = "data"
    x = patient.x
    if not hasattr(x, "dtype") or not np.issubdtype(x.dtype, np.floating):
        return [not_asked(name, "the inputs are no single array of floats")]
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    bad = int((~np.isfinite(flat)).sum())
    if bad:
        row = int(np.flatnonzero(~np.isfinite(flat).all(axis=1))[0])
        return [
            sick(
                name,
                "data not finite",
                f"{bad} numbers are infinite or NaN, the first in example {row}",
                "remove these examples, or say what stands for what is missing",
                value=float(bad),
            )
        ]
    mean, deviation = float(flat.mean()), float(flat.std())
    off = abs(mean) / deviation if deviation > 0 else math.inf
    by_feature = flat.std(axis=0)
    varied = by_feature[by_feature > 1e-6 * max(float(by_feature.max()), 1e-30)]
    uneven = float(varied.max() / np.median(varied)) if varied.size else 1.0
    said = f"mean {mean:.3g}, deviation {deviation:.3g}"
    found = []
    if off > CENTRED:
        found.append(
            sick(
                name,
                "data not centred",
                f"{said}: the mean is {off:.3g} deviations from 0",
                "subtract the mean of the training part, as data.preprocess does: else all weights of a "
                "unit are pushed the same way",
                value=off,
            )
        )
    if not NARROW <= deviation <= WIDE or uneven > UNEVEN:
        found.append(
            sick(
                name,
                "data not scaled",
                f"{said}, the widest feature is {uneven:.3g} times one in the middle",
                "divide by the deviation of the training part, feature by feature where they differ",
                value=deviation,
            )
        )
    return found or [ok(name, said, off)]


def label_counts(patient: Patient) -> Verdict:
    """Whether the labels are among the classes, and the classes of one size, roughly."""
    name = "classes"
    if patient.classes is None:
        return not_asked(name, "the targets are no classes")
    target = np.asarray(patient.whole[1])
    labels = target.reshape(-1)
    if labels.min() < 0 or labels.max() >= patient.classes:
        return sick(
            name,
            "labels out of range",
            f"from {labels.min()} to {labels.max()}, and the network has {patient.classes} outputs",
            "give the last layer an output for each class, and number the classes from 0",
            value=float(labels.max()),
        )
    if target.ndim != 1 or len(target) < FEWEST:
        return ok(name, f"labels within the {patient.classes} classes")
    counts = np.bincount(labels, minlength=patient.classes)
    if len(target) < 5 * patient.classes:
        return ok(name, f"labels within the {patient.classes} classes, too few to count")
    most, least = int(counts.argmax()), int(counts.argmin())
    said = f"class {most} has {counts[most]} examples, class {least} has {counts[least]}"
    if counts[most] == counts[least]:
        said = f"each of {patient.classes} classes has {counts[most]} examples"
    ratio = counts[most] / max(counts[least], 1e-9)
    if ratio <= IMBALANCE:
        return ok(name, said, float(ratio))
    return sick(
        name,
        "class imbalance",
        said,
        "weigh the examples of rare classes in the loss, or draw them more often; judge by a confusion "
        "matrix, not by accuracy"
        + ("; an output for a class that never comes is one too many" if not counts[least] else ""),
        value=float(ratio),
    )


def leaks(patient: Patient) -> list[Verdict]:
    """Examples that come twice, or are in both parts: see `fnn.data.leakage`."""
    name = "leaks"
    if not isinstance(patient.x, jax.Array) or not isinstance(patient.target, jax.Array):
        return [not_asked(name, "the inputs are no single array")]
    x, y = (np.asarray(part) for part in patient.whole)
    if x.ndim < 2 or x.dtype.kind not in "fiu":
        return [not_asked(name, "the inputs are no array of numbers")]
    twice = sum(len(group) - 1 for group in duplicates.groups(duplicates.digests(x)))
    found = []
    if twice > DUPLICATES * len(x):
        found.append(
            sick(
                name,
                "duplicates",
                f"{twice} of {len(x)} examples are copies of others",
                "keep one of each: copies count as often as they come, and leak when a set is split",
                value=twice / len(x),
            )
        )
    if patient.validation is None:
        return found or [
            ok(name, f"{twice} of {len(x)} examples are copies; no validation part given")
        ]
    other_x, other_y = (np.asarray(part) for part in patient.validation)
    labels: dict[str, Any] = {"train_y": y, "test_y": other_y} if y.ndim == 1 else {}
    small = len(x) * len(other_x) <= PAIRS
    report = leakage(x, other_x, similarity=SIMILARITY if small else None, **labels)
    found += [
        sick(name, f"leak: {each.kind}", each.message, "see the pairs that data.leakage gives")
        for each in report.findings
    ]
    return found or [ok(name, "none between training and validation part")]


def labels(patient: Patient) -> Verdict:
    """Whether the labels have to do with the inputs. Source: Zhang et al. (2017), "… Rethinking".

    First by the nearest neighbour of each example (leave one out). If that is no better than chance, the
    network is trained on three quarters of the examples, and its accuracy on the rest decides: labels
    that neither knows better than chance are shuffled, or belong to other examples.
    """
    name = "labels"
    x = patient.x
    floats = isinstance(x, jax.Array) and np.issubdtype(x.dtype, np.floating)
    if patient.classes is None or patient.target.ndim != 1 or not floats:
        return not_asked(name, "for inputs of floats with one class each alone")
    y = np.asarray(patient.target)
    if patient.count < FEWEST:
        return not_asked(name, f"{patient.count} examples are too few to tell")
    flat = np.asarray(x, np.float64).reshape(len(y), -1)
    near = y[_nearest(flat)] == y
    said = f"the nearest neighbour has the label of {near.mean():.0%}"
    if _above_chance(near, y):
        return ok(name, said, float(near.mean()))
    apart = np.arange(len(y)) % _HELD_OUT == 0
    run = tried(patient.net, patient.loss, adam(), patient.batch_size, _STEPS)
    seen = (patient.x[~apart], patient.target[~apart])
    after = run(patient.params, patient.state, seen, patient.key)

    def right(part: np.ndarray) -> np.ndarray:
        prediction = patient.net.predict(after.params, after.state, patient.x[part])
        return np.asarray(prediction).argmax(axis=-1) == y[part]

    learned, held_out = right(~apart), right(apart)
    said += f", the network after {_STEPS} steps that of {held_out.mean():.0%} of examples held out"
    said += f" and of {learned.mean():.0%} of its own"
    if _above_chance(held_out, y):
        return ok(name, said, float(held_out.mean()))
    if not _above_chance(learned, y):
        return not_asked(name, f"{said}: it learns nothing, so that nothing is told of the labels")
    return sick(
        name,
        "shuffled labels",
        f"{said}: chance is {_chance(y):.0%}",
        "look at a few examples with their labels: one of the two was shuffled, sorted or cut without "
        "the other",
        value=float(held_out.mean()),
    )


def _nearest(rows: np.ndarray) -> np.ndarray:
    """(N,) the nearest other row of each, of rows that are centred and of one length."""
    rows = rows - rows.mean(axis=0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    products = rows @ rows.T
    np.fill_diagonal(products, -np.inf)
    return products.argmax(axis=1)


def _chance(y: np.ndarray) -> float:
    """The accuracy of the largest class."""
    return float(np.bincount(y).max() / len(y))


def _above_chance(right: np.ndarray, y: np.ndarray) -> bool:
    chance = _chance(y)
    return bool(right.mean() > chance + DEVIATIONS * math.sqrt(chance * (1 - chance) / len(right)))
