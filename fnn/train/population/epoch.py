"""Many steps of N networks in one compiled call, and the evaluation of all of them in one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from fnn.batch import steps_per_epoch
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.train.batches import batch_indices
from fnn.train.evaluate import Evaluation, check_targets
from fnn.train.evaluate import evaluate as evaluate_one
from fnn.train.examples import example_count, take
from fnn.train.metrics.streaming import Reduction
from fnn.train.once import jit_once
from fnn.train.options import Batch, Metric, StepOptions
from fnn.train.population.members import AXIS, mesh_of, placed, size
from fnn.train.precision import AnyOptimizer
from fnn.train.state import TrainState
from fnn.train.step import Info, step_function


class Epoch(NamedTuple):
    """A function that is compiled once for every mesh that its members come on."""

    prepare: Callable[
        [TrainState, Batch], tuple[Any, Batch]
    ]  # the compiled one, and what it is given

    def __call__(self, members: TrainState, examples: Batch) -> tuple[TrainState, Info]:
        """The steps of all members."""
        function, given = self.prepare(members, examples)
        return function(members, given)

    def lower(self, members: TrainState, examples: Batch) -> Any:
        """As `lower` of a jitted function, to look at the program and the memory that it takes."""
        function, given = self.prepare(members, examples)
        return function.lower(members, given)


class _Order(NamedTuple):
    """What decides the batches that all members see."""

    key: Array
    step: Array  # (), the steps that those who have not stopped have made


def epoch(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    *,
    batch_size: int | None,
    steps: int | None = None,
    same_batches: bool = False,
    own_examples: bool = False,
    chunk: int | None = None,
    donate: bool = True,
    **options: Unpack[StepOptions],
) -> Epoch:
    """``epoch(members, (x, target)) -> (members, infos)``: `train.epoch` for all members at once.

    Every member makes the steps that it would make alone, to rounding, on the very same batches; infos
    are (N, steps). A member whose step is not finite stops alone, as in `train.epoch`: its state is its
    last good one and `infos.finite` of its row is False from there on; the others go on. Members that
    `spread` laid over several devices are trained there.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: an optimizer or a minimizer, see `fnn.optimizers`, or one with `loss_scaling`, whose
        scale is each member's own.
      batch_size: examples a step; None for full-batch descent on all of them, as they lie.
      steps: steps a call, at least one; None for one whole epoch.
      same_batches: all members have one key (`run_key` of `init`), so that each batch is ordered and
        gathered once for all of them. The results are the same; it only saves time.
      own_examples: x and target have a leading axis of N, each member's own examples (resamples,
        folds); otherwise all members share the examples.
      chunk: so many members at once, and one chunk after another; None for all at once. Less memory; and
        on a CPU, 1 for convnets: several members' convolutions are one in groups, which XLA is slow at
        there (4 convnets: 5 times as long as one by one), while dense layers gain.
      donate: whether the members that go in give their memory to those that come out.
      options: as for `train.step`.

    Raises:
      ValueError: no examples, or fewer than a batch; less than one step a call or member a chunk; keys
        that differ although `same_batches` is set, or examples of each member as well; shardings, which
        are those of a single network.
      RetraceError: on a call with other shapes or dtypes than the first one's.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"expected at least one step a call, or None for an epoch, got {steps}")
    if same_batches and own_examples:
        raise ValueError("expected same_batches or own_examples, got both")
    if options.get("shardings") is not None:
        raise ValueError(
            "expected no shardings: population.spread says where members lie, and each is on one device"
        )
    _check_chunk(chunk)
    advance = step_function(net, loss, optimizer, **options)

    def run(
        train_state: TrainState, examples: Batch, order: _Order | None
    ) -> tuple[TrainState, Info]:
        """The steps of one member."""
        count = example_count(examples)
        whole = steps_per_epoch(count, count if batch_size is None else batch_size)
        length = whole if steps is None else steps

        def body(train_state: TrainState, t: Array) -> tuple[TrainState, Info]:
            if batch_size is None:
                return advance(train_state, examples)
            if order is None:
                indices = batch_indices(train_state.key, train_state.step, count, batch_size)
                return advance(train_state, take(examples, indices))
            indices = batch_indices(order.key, order.step + t, count, batch_size)
            after, info = advance(train_state, take(examples, indices))
            # Alone, a member that stopped would see the same batch again, and not this next one.
            running = train_state.step == order.step + t
            after = jax.tree.map(partial(jnp.where, running), after, train_state)
            return after, info._replace(finite=info.finite & running)

        if length == 1:  # without a loop, as in `train.epoch`
            train_state, info = body(train_state, jnp.zeros((), jnp.int32))
            return train_state, jax.tree.map(lambda leaf: leaf[None], info)
        return jax.lax.scan(body, train_state, jnp.arange(length, dtype=jnp.int32))

    def function(members: TrainState, examples: Batch) -> tuple[TrainState, Info]:
        if own_examples:
            return over_members(
                lambda both: run(both[0], both[1], None), (members, examples), chunk
            )
        order = _Order(members.key[0], members.step.max()) if same_batches else None
        return over_members(lambda one: run(one, examples, order), members, chunk)

    calls: dict[Mesh | None, Any] = {}

    def prepare(members: TrainState, examples: Batch) -> tuple[Any, Batch]:
        size(members)  # refuses a single run
        if same_batches:
            _check_same_key(members.key)
        mesh = mesh_of(members)
        if mesh not in calls:
            specs = (PartitionSpec(AXIS), PartitionSpec(AXIS if own_examples else None))
            donated = {"donate_argnums": 0} if donate else {}
            calls[mesh] = jit_once("population.epoch", on_mesh(function, mesh, specs), **donated)
        return calls[mesh], placed(examples, mesh, by_member=own_examples)

    return Epoch(prepare)


def evaluate(
    net: Layer,
    loss: Loss,
    *,
    batch_size: int,
    metrics: Mapping[str, Metric] | None = None,
    reductions: Mapping[str, Reduction] | None = None,
    chunk: int | None = None,
) -> Callable[[PyTree, PyTree, Batch], Evaluation]:
    """``evaluate(params, state, (x, target)) -> Evaluation``: `train.evaluate` of all members at once.

    Every leaf of the evaluation has a leading axis of N. Arguments and errors as for `train.evaluate`;
    `chunk` as for `epoch`.
    """
    _check_chunk(chunk)

    def make() -> Callable[[PyTree, PyTree, Batch], Evaluation]:
        judge = evaluate_one(
            net, loss, batch_size=batch_size, metrics=metrics, reductions=reductions
        )

        def function(params: PyTree, state: PyTree, examples: Batch) -> Evaluation:
            return over_members(
                lambda member: judge(member[0], member[1], examples), (params, state), chunk
            )

        return function

    make()  # refuses what makes no sense
    calls: dict[Mesh | None, Callable[[PyTree, PyTree, Batch], Evaluation]] = {}

    def call(params: PyTree, state: PyTree, examples: Batch) -> Evaluation:
        mesh = mesh_of(params)
        if mesh not in calls:
            specs = (PartitionSpec(AXIS), PartitionSpec(AXIS), PartitionSpec())
            calls[mesh] = jit_once("population.evaluate", on_mesh(make(), mesh, specs))
        result = calls[mesh](params, state, placed(examples, mesh))
        if not isinstance(result.loss, jax.core.Tracer) and not np.isfinite(result.loss).all():
            first, its_state = jax.tree.map(lambda leaf: leaf[0], (params, state))
            check_targets(net, loss, first, its_state, examples)
        return result

    return call


def over_members(
    function: Callable[[PyTree], PyTree], members: PyTree, chunk: int | None
) -> PyTree:
    """``function`` of every member, all at once or one chunk after another."""
    if chunk is None:
        return jax.vmap(function)(members)
    if chunk == 1:  # the program of a single run, without `vmap`
        return jax.lax.map(function, members)
    return jax.lax.map(function, members, batch_size=chunk)


def on_mesh(
    function: Callable[..., PyTree], mesh: Mesh | None, specs: tuple[PartitionSpec, ...]
) -> Callable[..., PyTree]:
    """The function on every device's own members; the search for a batch's indices is a loop, whose
    end the devices would otherwise have to agree on at every round.
    """
    if mesh is None:
        return function
    return jax.shard_map(
        function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False
    )


def _check_chunk(chunk: int | None) -> None:
    if chunk is not None and chunk < 1:
        raise ValueError(f"expected at least one member a chunk, or None for all, got {chunk}")


def _check_same_key(keys: Array) -> None:
    if isinstance(keys, jax.core.Tracer):
        return
    typed = jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    words = np.asarray(jax.random.key_data(keys) if typed else keys)
    if (words != words[0]).any():
        raise ValueError(
            "expected members that share one key where same_batches is set, got different keys; give "
            "population.init a run_key"
        )
