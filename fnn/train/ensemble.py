"""Ensembles: several networks that decide together, from the predictions that each of them makes.

    logits = ensemble.predictions(net, members.params, members.state, x)      # (M, N, C)
    scores = ensemble.mean_probabilities(logits)                              # (N, C)
    print(ensemble.judge(logits, labels))

Whatever makes several predictions of one thing can be combined so: a population, networks of different
kinds, snapshots of one run, or one network with other draws of its dropout. A rule takes logits (M, …, C)
of M members to scores (…, C) whose largest is the decision, so that `train.accuracy` takes them too.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.compose.training_noise import training_noise
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Key, Layer, PyTree
from fnn.train.fit import Report
from fnn.train.metrics.scores import accuracy

Rule = Literal["probabilities", "logits", "vote"]


class Judgement(NamedTuple):
    """What the members decide, and what they decide together; on one set of examples."""

    members: np.ndarray  # (M,), the accuracy of each
    together: float  # the ensemble's
    disagreement: float  # see `disagreement`
    rule: Rule

    def __str__(self) -> str:
        return (
            f"ensemble of {len(self.members)} by {self.rule}: accuracy {self.together:.4f}; members "
            f"{self.members.mean():.4f} on average, {self.members.min():.4f} to "
            f"{self.members.max():.4f}; two of them differ on {self.disagreement:.2%}"
        )


class Uncertainty(NamedTuple):
    """Entropies in nats of each example's prediction; ``total = within + between``."""

    total: Array  # (…), of the mean of the probabilities
    within: Array  # (…), the mean over members of each one's own
    between: Array  # (…), what the choice of a member tells about the class: high where they differ


def predictions(net: Layer, params: PyTree, state: PyTree, x: PyTree) -> PyTree:
    """`predict` of all members, whose trees have a leading axis of M: (M, N, …)."""
    return jax.vmap(net.predict, in_axes=(0, 0, None))(params, state, x)


def predictions_of(networks: Sequence[tuple[Layer, PyTree, PyTree]], x: PyTree) -> Array:
    """`predict` of networks of any kind, each with its params and state, stacked: (M, N, …).

    Raises:
      ValueError: there is no network, or their predictions differ in shape.
    """
    each = [net.predict(params, state, x) for net, params, state in networks]
    if len({y.shape for y in each}) != 1:
        raise ValueError(
            f"expected networks whose predictions have one shape, got {[y.shape for y in each]}"
        )
    return jnp.stack(each)


def sampled_predictions(
    net: Layer, params: PyTree, state: PyTree, x: PyTree, key: Key, count: int
) -> PyTree:
    """Predictions (count, N, …) of one network, with other draws of its noise in each: MC dropout.

    The layers that draw do so as in training; those with a state (batch norm) use it as in `predict`.
    Their mean approximates that of the posterior that dropout stands for; `augment.averaged` gives it
    with less memory. Source: Gal and Ghahramani (2016).

    Raises:
      ValueError: less than one sample is asked for, or there is no key.
    """
    if count < 1 or key is None:
        raise ValueError(f"expected a key and at least one sample, got {key} and {count}")
    noisy = training_noise(net)

    def sample(key: Array) -> PyTree:
        return noisy.forward(params, state, x, key)[0]

    return jax.vmap(sample)(jax.random.split(key, count))


def mean_probabilities(logits: Array) -> Array:
    """``p̄ = (1/M) Σ_m softmax(z_m)``: (M, …, C) -> (…, C), at least float32.

    For the log-likelihood of the ensemble its logarithm serves as logits: ``softmax(log p̄) = p̄``.
    """
    return jax.nn.softmax(_members(logits), axis=-1).mean(axis=0)


def mean_logits(logits: Array) -> Array:
    """``z̄ = (1/M) Σ_m z_m``: (M, …, C) -> (…, C), at least float32.

    As probabilities, ``softmax(z̄)`` is the members' geometric mean, normalized.
    """
    return _members(logits).mean(axis=0)


def vote(logits: Array) -> Array:
    """Each class's share of the members' decisions: (M, …, C) -> (…, C), at least float32.

    The class with the most votes is the largest share; of equals, `argmax` takes the lowest class, as it
    does within a member. A member whose scores hold a NaN does not vote; if none does, all is NaN.
    """
    scores = _members(logits)
    votes = jax.nn.one_hot(scores.argmax(axis=-1), scores.shape[-1], dtype=scores.dtype)
    votes = jnp.where(jnp.isnan(scores).any(axis=-1, keepdims=True), 0.0, votes)
    return votes.sum(axis=0) / votes.sum(axis=(0, -1))[..., None]


_RULES: dict[str, Callable[[Array], Array]] = {
    "probabilities": mean_probabilities,
    "logits": mean_logits,
    "vote": vote,
}


def combine(logits: Array, rule: Rule = "probabilities") -> Array:
    """The rule by its name.

    Raises:
      ValueError: there is no such rule, or no axis of members.
    """
    if rule not in _RULES:
        raise ValueError(f"expected a rule of {sorted(_RULES)}, got {rule!r}")
    return _RULES[rule](logits)


def disagreement(logits: Array) -> Array:
    """The share of examples on which two members decide differently, averaged over all pairs: ().

    With n_c of M votes for class c it is the mean of ``1 - Σ_c n_c (n_c - 1) / (M (M - 1))``. Source:
    Kuncheva and Whitaker (2003).

    Raises:
      ValueError: fewer than two members.
    """
    scores = _members(logits)
    count = scores.shape[0]
    if count < 2:
        raise ValueError(f"expected at least two members, got {count}")
    votes = jax.nn.one_hot(scores.argmax(axis=-1), scores.shape[-1], dtype=scores.dtype).sum(axis=0)
    return jnp.mean(1 - (votes * (votes - 1)).sum(axis=-1) / (count * (count - 1)))


def uncertainty(logits: Array) -> Uncertainty:
    """How unsure the members are, and how much of that is that they differ: see `Uncertainty`.

    ``H(p̄) = (1/M) Σ_m H(p_m) + I``. Source: Houlsby et al. (2011).
    """
    log_p = jax.nn.log_softmax(_members(logits), axis=-1)
    log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(float(log_p.shape[0]))
    total = _entropy(log_mean)
    within = _entropy(log_p).mean(axis=0)
    return Uncertainty(total, within, total - within)


def judge(logits: Array, target: Array, rule: Rule = "probabilities") -> Judgement:
    """The accuracy of every member and of the ensemble, for logits (M, N, C) and labels (N,)."""
    scores = _members(logits)
    each = jax.vmap(accuracy, in_axes=(0, None))(scores, target)
    together = accuracy(combine(scores, rule), target)
    return Judgement(
        np.asarray(each.reshape(scores.shape[0], -1).mean(axis=1)),
        float(together.mean()),
        float(disagreement(scores)),
        rule,
    )


def snapshots(reports: Iterable[Report], cycle: int) -> tuple[PyTree, PyTree]:
    """(params, state), stacked, of one run at the end of each of its cycles of `cycle` steps.

        schedule = schedules.cosine_with_restarts(0.1, cycle)
        reports = fit(net, loss, sgd(schedule), …, steps_per_call=cycle)
        params, state = ensemble.snapshots(reports, cycle)

    M networks for the price of one. The rate falls to its lowest there, so that the network lies in a
    minimum, and rises again to leave for another one. Source: Huang et al. (2017).

    Raises:
      ValueError: no cycle has ended, or one ended between two reports.
    """
    if cycle < 1:
        raise ValueError(f"expected a cycle of at least one step, got {cycle}")
    kept: list[tuple[PyTree, PyTree]] = []
    for report in reports:
        steps, before = report.steps, report.steps - len(report.info.loss)
        ends = range((before // cycle + 1) * cycle, steps + 1, cycle)
        if any(end != steps for end in ends):
            raise ValueError(
                f"expected a report at step {ends[0]}, where a cycle ends, got one at {steps} after "
                f"{before}; give `fit` a steps_per_call that divides {cycle}"
            )
        if ends:
            kept.append((report.train_state.params, report.train_state.state))
    if not kept:
        raise ValueError(
            f"expected a run of at least one cycle of {cycle} steps, got a shorter one"
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *kept)


def _members(logits: Array) -> Array:
    """The scores in the dtype that sums are made in.

    Raises:
      ValueError: not an axis of members, at least one, and one of classes.
    """
    logits = jnp.asarray(logits)
    if logits.ndim < 2 or 0 in (logits.shape[0], logits.shape[-1]):
        raise ValueError(f"expected scores (M, …, C) of at least one member, got {logits.shape}")
    return logits.astype(accumulation_dtype(logits.dtype))


def _entropy(log_p: Array) -> Array:
    """``-Σ p log p`` over the last axis, in which 0 log 0 = 0."""
    p = jnp.exp(log_p)
    return -jnp.where(p > 0, p * log_p, 0.0).sum(axis=-1)
