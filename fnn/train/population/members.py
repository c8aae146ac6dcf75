"""The members of a population: N train states stacked into one, made, taken out, and spread."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn.layer import Array, Layer, PyTree
from fnn.optimizers import with_hyperparameters
from fnn.train import state as single
from fnn.train.precision import AnyOptimizer
from fnn.train.state import TrainState
from fnn.tree import paths

AXIS = "member"  # the name of the mesh axis that the members are spread over


def init(
    net: Layer,
    optimizer: AnyOptimizer,
    keys: Array,
    x: PyTree,
    *,
    hyperparameters: Mapping[str, Array | np.ndarray | Sequence[float]] | None = None,
    run_key: Array | None = None,
) -> TrainState:
    """N states before the first step: a `TrainState` whose leaves have a leading axis of N members.

        keys = jax.random.split(jax.random.key(0), 64)
        rates = np.geomspace(1e-4, 1e-1, 64)
        members = population.init(net, adam(), keys, x, hyperparameters={"rate": rates})

    Member i is, bit for bit, ``train.init(net, optimizer, keys[i], x)`` with its hyperparameters.

    Args:
      net: the network.
      optimizer: an optimizer or a minimizer, or one with `loss_scaling`. What a schedule drives is alike
        in all members.
      keys: N keys (N,), such as `jax.random.split` gives; old-style keys are (N, 2).
      x: one batch of inputs, or its shapes.
      hyperparameters: N values each, by name or path as in `optimizers.with_hyperparameters`.
      run_key: one key that all members order their batches and draw with, in place of their own: they
        start from different parameters and then see the same. See `same_batches` of `epoch`.

    Raises:
      ValueError: no keys; or not N values, or one out of range, for a hyperparameter.
      KeyError: the optimizer's state has no such hyperparameter.
      TypeError: the optimizer is none.
    """
    typed = jnp.issubdtype(jnp.asarray(keys).dtype, jax.dtypes.prng_key)
    if keys.ndim != (1 if typed else 2) or len(keys) < 1:
        raise ValueError(
            "expected one key a member, such as jax.random.split(key, N), got keys of shape "
            f"{keys.shape}"
        )
    count = len(keys)
    values = {name: np.asarray(given) for name, given in (hyperparameters or {}).items()}
    for name, given in values.items():
        if given.shape != (count,):
            raise ValueError(
                f"expected {count} values of {name}, one a member, got shape {given.shape}"
            )
    states = []
    for i, key in enumerate(keys):
        made = single.init(net, optimizer, key, x)
        try:
            own = with_hyperparameters(made.optimizer, **{n: v[i] for n, v in values.items()})
        except ValueError as error:
            error.add_note(f"in the hyperparameters of member {i}")
            raise
        states.append(made._replace(optimizer=own, key=key if run_key is None else run_key))
    return stack(states)


def stack(train_states: Sequence[TrainState]) -> TrainState:
    """The population of these members, in memory of its own.

    Raises:
      ValueError: there are none, or they differ in paths, shapes or dtypes.
    """
    if not train_states:
        raise ValueError("expected at least one train state, got none")
    first = _described(train_states[0])
    for i, other in enumerate(train_states):
        here = _described(other)
        if here != first:
            differing = sorted(p for p in first.keys() | here.keys() if first.get(p) != here.get(p))
            raise ValueError(
                f"expected members that are made alike, but member {i} differs from member 0 in "
                f"{', '.join(differing)}"
            )
    return jax.tree.map(lambda *leaves: _stacked(leaves), *train_states)


def size(members: TrainState) -> int:
    """How many members there are.

    Raises:
      ValueError: this is the train state of a single run.
    """
    if jnp.ndim(members.step) != 1:
        raise ValueError(
            "expected a population, whose `step` has one entry a member, got a `step` of shape "
            f"{jnp.shape(members.step)}; make one with population.init or population.stack"
        )
    return len(members.step)


def member(members: PyTree, index: int) -> PyTree:
    """Member `index`, alone: of a population an ordinary `TrainState`, which goes on with `train.fit`.

    Of anything else that is stacked over members (infos, an evaluation) it is that member's part.

    Raises:
      IndexError: there is no such member.
    """
    counts = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(members)}
    if any(not -count <= index < count for count in counts):
        raise IndexError(f"expected a member from 0 to {min(counts) - 1}, got {index}")
    return jax.tree.map(lambda leaf: leaf[index], members)


def spread(members: TrainState, devices: Sequence[jax.Device] | None = None) -> TrainState:
    """The population with its members shared out evenly over several devices.

    Everything in this module then runs on all of them, each device with its own members and a copy of
    the examples; no number travels between them during training.

    Args:
      members: the population.
      devices: where to; None for all of `jax.devices()`.

    Raises:
      ValueError: the members cannot be shared out evenly, or there is no device.
    """
    devices = jax.devices() if devices is None else list(devices)
    count = size(members)
    if not devices or count % len(devices):
        most = max((d for d in range(1, len(devices) + 1) if count % d == 0), default=0)
        above = -(-count // max(len(devices), 1)) * len(devices)
        raise ValueError(
            f"expected a number of members that the {len(devices)} devices divide, got {count}; "
            f"make {above} members, or give devices=jax.devices()[:{most}]"
        )
    sharding = NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec(AXIS))
    return jax.device_put(members, sharding)


def mesh_of(members: PyTree) -> Mesh | None:
    """The mesh that `spread` laid the members over; None for those that lie on one device."""
    for leaf in jax.tree.leaves(members):
        sharding = None if isinstance(leaf, jax.core.Tracer) else getattr(leaf, "sharding", None)
        mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
        if isinstance(mesh, Mesh) and AXIS in mesh.axis_names:
            return mesh
    return None


def placed(examples: PyTree, mesh: Mesh | None, *, by_member: bool = False) -> PyTree:
    """The examples as jax arrays: all on every device of the mesh, or each with its member."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, examples)
    # A copy first: a device of the host may take over NumPy's own memory, which its owner may write to.
    owned = jax.tree.map(lambda a: a if isinstance(a, jax.Array) else np.array(a), examples)
    return jax.device_put(
        owned, NamedSharding(mesh, PartitionSpec(AXIS) if by_member else PartitionSpec())
    )


def _stacked(leaves: Sequence[Any]) -> Array:
    """On the host, because jnp.stack would compile a program for every shape."""
    if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
        words = np.stack([np.asarray(jax.random.key_data(leaf)) for leaf in leaves])
        fresh = jax.device_put(words, may_alias=False)
        return jax.random.wrap_key_data(fresh, impl=jax.random.key_impl(leaves[0]))
    return jax.device_put(np.stack([np.asarray(leaf) for leaf in leaves]), may_alias=False)


def _described(train_state: TrainState) -> dict[str, tuple[Any, Any]]:
    return {path: (jnp.shape(leaf), leaf.dtype) for path, leaf in paths(train_state)}
