"""The doctor: every check in turn, causes before what follows from them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnn.arguments import check_takes
from fnn.compose.wrapper import check_layer
from fnn.diagnostics.doctor import (
    backward_checks,
    backward_forms,
    data_checks,
    frozen_checks,
    loss_checks,
    output_checks,
    signal_checks,
    structure_checks,
    training_checks,
)
from fnn.diagnostics.doctor.causes import ordered
from fnn.diagnostics.doctor.diagnosis import Diagnosis, Verdict, not_asked
from fnn.diagnostics.doctor.patient import Budget, Patient, fitting, thinned
from fnn.layer import Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Minimizer, Optimizer
from fnn.optimizers.optimizer import check_optimizer
from fnn.train.examples import example_count
from fnn.train.precision import LossScaled

Check = Callable[[Patient], Verdict | list[Verdict]]

# What needs no loss of each example, …
_DATA: dict[str, Check] = {
    "data": data_checks.numbers,
    "classes": data_checks.label_counts,
    "leaks": data_checks.leaks,
}
# … and what does.
_NETWORK: dict[str, Check] = {
    "loss reduction": loss_checks.reduction,
    "gradient": backward_checks.gradient,
    "output": output_checks.output,
    "initial loss": loss_checks.initial_loss,
    "labels": data_checks.labels,
    "symmetry": structure_checks.symmetry,
    "nonlinearity": structure_checks.nonlinearity,
    "batch norm": structure_checks.batch_norm,
    "dropout": structure_checks.noise,
    "signals": signal_checks.signals,
    "frozen parameters": frozen_checks.frozen_parameters,
    "rate": training_checks.rate,
    "updates": training_checks.updates,
    "overfit": training_checks.overfit,
}
CHECKS: tuple[str, ...] = (*_DATA, *_NETWORK)
_FORWARD = ("loss reduction",)  # what needs no backward pass, …
_TRAINING = ("frozen parameters", "rate", "updates", "overfit")  # … and what trains
# Illnesses after which the numbers of a pass mean nothing.
_STOPS = ("data not finite", "labels out of range")


def doctor(
    net: Layer,
    loss: Loss,
    examples: tuple[PyTree, PyTree],
    *,
    optimizer: Optimizer | None = None,
    params: PyTree = None,
    state: PyTree = None,
    validation: tuple[Any, Any] | None = None,
    batch_size: int | None = None,
    frozen: Sequence[str] = (),
    checks: Sequence[str] | None = None,
    key: jax.Array | None = None,
    budget: Budget | None = None,
    said: Callable[[Verdict], None] | None = None,
) -> Diagnosis:
    """Examine a network as it would be trained: its gradient, its first loss, its data, its first steps.

        diagnosis = doctor(net, softmax_cross_entropy(), (x, labels), optimizer=adam(1e-3))
        print(diagnosis)                # a line a check, and what to do
        assert diagnosis.ok

    Nothing that is given is changed. It takes some ten small compiled programs and a few hundred steps:
    ten seconds to a minute for a small network on two cores, most of it for compiling; `said` tells of
    each verdict meanwhile. An illness is often seen by several checks: the first verdict is nearest to
    the cause.

    Args:
      net: the network.
      loss: the loss of an example.
      examples: (x, target), those to train on.
      optimizer: as it would train, with its rate; without one, the rate is not asked about.
      params: where to begin; None for a fresh `net.init`.
      state: that of the network, with `params`.
      validation: (x, target) of the part that is held out, to look for leaks between the two.
      batch_size: of training; 32, or all examples if there are fewer.
      frozen: patterns of the paths of parameters that are meant not to move, such as ``embed/*``; those
        within `compose.frozen` too, where their weights are drawn at random.
      checks: those of `CHECKS` to make; None for all.
      key: of the fresh parameters, the batches and the noise.
      budget: how much of everything.
      said: called with each verdict as it comes, such as `print`; the diagnosis has them in another
        order where one is the cause of others.

    Raises:
      TypeError: the network is no Layer or the loss no Loss, such as the function that makes one; the
        optimizer is none, or a minimizer, or one with `loss_scaling`; `checks` is one string; `said` is
        no function of a verdict.
      ValueError: examples with weights, none, or less than a batch of them; `params` without `state`; an
        unknown check.
    """
    check_layer("doctor", net)
    _check_loss(loss)
    for what, names in (("checks", checks), ("frozen", frozen)):
        if isinstance(names, str):
            raise TypeError(
                f"doctor: expected {what} as a sequence of names, got {names!r}; write "
                f"{what}=({names!r},)"
            )
    if said is not None:
        check_takes(said, ("verdict",), "doctor, said")
    if optimizer is not None:
        check_optimizer(optimizer, "doctor")
    if isinstance(optimizer, Minimizer | LossScaled):
        raise TypeError(
            "doctor: expected an optimizer whose update is of (grads, state, params), got a "
            f"{type(optimizer).__name__}; give the one within it, or none"
        )
    if len(examples) != 2:
        raise ValueError(f"doctor: expected examples (x, target), got {len(examples)} entries")
    if (params is None) != (state is None):
        raise ValueError("doctor: expected params and state together, or none of them")
    chosen = CHECKS if checks is None else tuple(checks)
    if unknown := [name for name in chosen if name not in CHECKS]:
        raise ValueError(f"doctor: expected checks of {', '.join(CHECKS)}, got {unknown}")
    budget = Budget() if budget is None else budget
    key = jax.random.key(0) if key is None else key
    x, target = jax.tree.map(jnp.asarray, thinned((examples[0], examples[1]), budget.examples))
    size = fitting(batch_size, example_count((x, target)))
    fresh = params is None
    if fresh:
        params, state = net.init(jax.random.fold_in(key, 0), x)
    patient = Patient(
        net,
        loss,
        x,
        target,
        (examples[0], examples[1]),
        optimizer,
        params,
        state,
        fresh,
        validation,
        jax.random.fold_in(key, 1),
        size,
        tuple(frozen),
        budget,
    )
    found: list[Verdict] = []
    for verdict in _examined(patient, chosen):
        found.append(verdict)
        if said is not None:
            said(verdict)
    data = sum(verdict.check in _DATA for verdict in found)
    return Diagnosis(tuple(ordered(found, data, lambda: list(patient.seen))))


def _check_loss(given: object) -> None:
    if not isinstance(given, Loss):
        made = f"; call it: {getattr(given, '__name__', 'it')}(…)" if callable(given) else ""
        raise TypeError(f"doctor: expected a Loss, got {given!r:.80}{made}")


def _examined(patient: Patient, chosen: Sequence[str]) -> Iterator[Verdict]:
    """The verdicts as they come."""
    why = None
    for name, check in _DATA.items():
        if name in chosen:
            for verdict in _listed(check(patient)):
                yield verdict
                if verdict.illness in _STOPS:
                    why = why or f"not before this is mended: {verdict.illness}"
    told = None
    wanted = [name for name in chosen if name in _NETWORK]
    # Before all that runs the loss, and before all that runs a backward pass.
    if why is None and wanted and (told := loss_checks.misshapen(patient)) is not None:
        why = "not before the loss is one number an example"
        yield told
    broken = None
    if why is None and any(name not in _FORWARD for name in wanted):
        broken = backward_forms.shapes(patient)
    for name, check in _NETWORK.items():
        if name == "gradient" and broken is not None:
            yield broken
            why = f"not before the backward pass of {broken.path} is mended"
        elif name not in wanted or (told is not None and told.check == name):
            continue
        elif why is not None:
            yield not_asked(name, why)
        elif name in _TRAINING and not patient.finite:
            yield not_asked(name, "not before the first loss and its gradient are finite")
        else:
            yield from _listed(check(patient))


def _listed(found: Verdict | list[Verdict]) -> list[Verdict]:
    return found if isinstance(found, list) else [found]
