"""Where a training run lies on a mesh of devices: its parameters by path rules, its batches by examples.

    grid = train.mesh("data=4,model=2")
    shardings = train.shardings(grid, train.fully_sharded(base=train.tensor_parallel_transformer()))
    train_state = shardings.place(train.init(net, optimizer, key, x))
    print(shardings.resolution(train_state))
    train_epoch = train.epoch(net, loss, optimizer, batch_size=64, shardings=shardings)

The step is one program of the whole batch, which XLA cuts up for the devices (`jax.jit` with
`NamedSharding`). So it computes what it computes on one device, up to rounding: batch norm's statistics
are those of the whole batch, batches and the draws of dropout are the same bits, on every mesh.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, use_abstract_mesh

from fnn.layer import PyTree
from fnn.train.derivation import Derivation, Derived, Rest
from fnn.train.devices.mesh import BATCH_AXES
from fnn.train.devices.rules import Rules, data_parallel, names_of, resolve
from fnn.train.options import Batch
from fnn.train.state import TrainState, copy
from fnn.tree import paths

P = PartitionSpec
_WHOLE = P()


class Placed(NamedTuple):
    """A leaf of a train state and where it lies."""

    path: str  # params/hidden/w
    shape: tuple[int, ...]
    dtype: Any
    spec: PartitionSpec
    follows: str | None  # of an optimizer's slot: the parameter whose spec it has
    bytes: int  # on each device


class MeshShardings(NamedTuple):
    """The places of a training run: see `shardings`, which makes one."""

    mesh: Mesh
    rules: Rules
    state_rules: Rules
    batch_axes: tuple[str, ...]

    def place(self, train_state: TrainState) -> TrainState:
        """The train state with every leaf at its place, in memory of its own.

        It may be called again, and on a state that lies on another mesh. Each process keeps what its
        devices hold.

        Raises:
          ValueError: a rule does not fit, see `train.shardings`; or an axis of the mesh splits nothing,
            neither batches nor any parameter, so that its devices would all do the same.
        """
        placed = self.placed(train_state)
        used = {name for leaf in placed for entry in leaf.spec for name in names_of(entry)}
        idle = [
            name
            for name, size in self.mesh.shape.items()
            if size > 1 and name not in used and name not in self.batch_axes
        ]
        if idle:
            raise ValueError(
                f"expected rules that split a parameter over every axis of the mesh, got none for "
                f"{', '.join(map(repr, idle))}, whose devices would all do the same"
            )
        # A copy first: on the first device of several, a transfer may share memory with what it is given,
        # which the step would then take.
        return self._each(copy(train_state), placed, self._put)

    def batch(self, batch: Batch) -> Batch:
        """The batch with its examples spread over the devices, within a compiled call.

        Raises:
          ValueError: the number of examples does not fall into as many parts.
        """
        parts = self.batch_parts
        for path, leaf in paths(batch):
            if leaf.ndim < 1 or leaf.shape[0] % parts:
                raise ValueError(
                    f"expected a batch that {parts} devices divide, got shape {leaf.shape} at "
                    f"{path!r}; the mesh is {dict(self.mesh.shape)}"
                )
        return jax.lax.with_sharding_constraint(batch, self.batch_sharding)

    def keep(self, train_state: TrainState) -> TrainState:
        """The train state constrained to where `place` puts it, within a compiled call."""
        return self._each(train_state, self.placed(train_state), jax.lax.with_sharding_constraint)

    def replicate(self, examples: PyTree) -> PyTree:
        """What every device needs whole, on every device; every process has to give the same."""
        return jax.tree.map(lambda leaf: self._put(leaf, self._named(_WHOLE)), examples)

    def differentiated(self, derive: Derivation) -> Derivation:
        """The derivation of a gradient with parameters that are gathered before, and scattered after it.

        What is split over the axes of the batch, by `fully_sharded`, is put together for the time of the
        forward and backward pass, and of the gradient each device keeps its part. Left to itself, XLA
        gathers activations in place of some parameters.
        """

        def derived(params: PyTree, rest: Rest, scale: Any) -> Derived:
            result = self._gathered(derive, params, rest, scale)
            specs = self.parameter_specs(params)
            return result._replace(grads=self._constrained(result.grads, specs))

        return derived

    def evaluated(self, judge: Callable[..., Any]) -> Callable[..., Any]:
        """The function of parameters, which are gathered before; what it gives is on every device."""
        whole = self._named(_WHOLE)
        return lambda *given: jax.lax.with_sharding_constraint(self._gathered(judge, *given), whole)

    def _gathered(self, function: Callable[..., Any], params: PyTree, *rest: Any) -> Any:
        """The function of parameters whose parts that the axes of the batch hold are together."""
        specs = [self._without_batch_axes(spec) for spec in self.parameter_specs(params)]
        # The layers see the mesh, as `jax.set_mesh` would show it to them: on a CPU, convolutions have
        # forms that only fit one device.
        with use_abstract_mesh(self.mesh.abstract_mesh):
            return function(self._constrained(params, specs), *rest)

    def placed(self, train_state: TrainState) -> list[Placed]:
        """Every leaf with its spec, in the order of `jax.tree.leaves`.

        Raises:
          ValueError: a rule does not fit, see `train.shardings`.
        """
        shapes = {path: leaf.shape for path, leaf in paths(train_state.params)}
        params = self._resolved(self.rules, train_state.params)
        states = self._resolved(self.state_rules, train_state.state)
        result = []
        for path, leaf in paths(train_state):
            field, _, rest = path.partition("/")
            spec, follows = _WHOLE, None
            if field == "params":
                spec = params[rest]
            elif field == "state":
                spec = states[rest]
            elif field == "optimizer":
                follows = _followed(rest, leaf.shape, shapes)
                spec = _WHOLE if follows is None else params[follows]
            result.append(
                Placed(path, leaf.shape, leaf.dtype, spec, follows, self._bytes(leaf, spec))
            )
        return result

    def resolution(self, train_state: TrainState) -> str:
        """A table of what lies where, and how many bytes on each device.

        A line for each parameter, each leaf of the network's state, and each leaf of the optimizer's that
        follows no parameter; and the sums.
        """
        placed = self.placed(train_state)
        lines = [f"mesh {_written(self.mesh)}, batches over {', '.join(self.batch_axes) or 'none'}"]
        shown = [leaf for leaf in placed if leaf.shape and leaf.follows is None]
        width = max((len(leaf.path) for leaf in shown), default=0)
        lines += [
            f"  {leaf.path:{width}}  {leaf.shape!s:20} {_spec_text(leaf.spec):28} {leaf.bytes:>12,}"
            for leaf in shown
        ]
        for field in ("params", "state", "optimizer"):
            own = [leaf for leaf in placed if leaf.path.partition("/")[0] == field]
            whole = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in own)
            each = sum(leaf.bytes for leaf in own)
            lines.append(f"{field}: {each:,} bytes a device, of {whole:,}")
        return "\n".join(lines)

    def parameter_specs(self, params: PyTree) -> list[PartitionSpec]:
        """The spec of every parameter, in the order of `jax.tree.leaves`."""
        return list(self._resolved(self.rules, params).values())

    @property
    def batch_parts(self) -> int:
        """In how many parts a batch is split."""
        return math.prod(self.mesh.shape[name] for name in self.batch_axes)

    @property
    def batch_sharding(self) -> NamedSharding:
        """Of every leaf of a batch."""
        return self._named(P(self.batch_axes) if self.batch_axes else _WHOLE)

    def _resolved(self, rules: Rules, tree: PyTree) -> dict[str, PartitionSpec]:
        shapes = {path: leaf.shape for path, leaf in paths(tree)}
        return resolve(rules, shapes, self.mesh.shape)

    def _named(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(self.mesh, spec)

    def _each(
        self, tree: PyTree, placed: Iterable[Placed], put: Callable[[Any, NamedSharding], Any]
    ) -> PyTree:
        leaves, structure = jax.tree.flatten(tree)
        moved = [put(a, self._named(p.spec)) for a, p in zip(leaves, placed, strict=True)]
        return jax.tree.unflatten(structure, moved)

    def _constrained(self, tree: PyTree, specs: list[PartitionSpec]) -> PyTree:
        leaves, structure = jax.tree.flatten(tree)
        named = jax.tree.unflatten(structure, [self._named(spec) for spec in specs])
        return jax.lax.with_sharding_constraint(tree, named) if leaves else tree

    def _without_batch_axes(self, spec: PartitionSpec) -> PartitionSpec:
        def left(entry: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
            names = tuple(name for name in names_of(entry) if name not in self.batch_axes)
            return names or None

        return P(*map(left, spec))

    def _bytes(self, leaf: Any, spec: PartitionSpec) -> int:
        parts = math.prod(self.mesh.shape[n] for entry in spec for n in names_of(entry))
        return math.prod(leaf.shape) * leaf.dtype.itemsize // parts

    def _put(self, leaf: Any, sharding: NamedSharding) -> jax.Array:
        """On the devices; of several processes, each puts its part of what all of them have."""
        if sharding.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        if jax.dtypes.issubdtype(jax.dtypes.result_type(leaf), jax.dtypes.prng_key):
            data = self._put(jax.random.key_data(leaf), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def shardings(
    mesh: Mesh,
    rules: Rules | None = None,
    *,
    state_rules: Rules | None = None,
    batch_axes: tuple[str, ...] | None = None,
) -> MeshShardings:
    """Where a training run lies, for `train.step`, `train.epoch` and `train.fit`.

    Each parameter lies as the first rule says whose pattern matches its path. A slot of the optimizer's,
    that is a leaf whose path ends with a parameter's and whose shape is that parameter's, lies as the
    parameter does; everything else that is the optimizer's, the key and the step count are whole on every
    device. So is the network's state, but for `state_rules`. Batches are split by examples.

    Parameters that are split over an axis of the batch (`fully_sharded`) are gathered once a step, for
    its forward and backward passes, in which a device needs room for all of them; between the steps it
    holds its part, and gradients, slots and updates stay split. The gradients are summed over the devices
    and cut, for which XLA has one message on a GPU or TPU (reduce-scatter), and on a CPU two.

    Args:
      mesh: from `train.mesh`, or any whose axes are of type Auto.
      rules: of the parameters: `data_parallel` (the default), `fully_sharded`,
        `tensor_parallel_transformer`, `tensor_parallel_mlp`, or your own, see `train.devices.rules`.
      state_rules: of the network's state; whole on every device by default.
      batch_axes: of the mesh, over which batches are split; "data" and "fsdp", if the mesh has them.

    Raises:
      ValueError: an axis of `batch_axes` is none of the mesh's.

    Raises (when a state is placed or a step traced):
      ValueError: a pattern matches no parameter, a parameter has no rule, or a spec does not fit its
        shape, naming the path.
    """
    if batch_axes is None:
        batch_axes = tuple(name for name in mesh.axis_names if name in BATCH_AXES)
    unknown = [name for name in batch_axes if name not in mesh.shape]
    if unknown:
        raise ValueError(
            f"expected batch axes of the mesh ({', '.join(mesh.axis_names)}), got {', '.join(unknown)}"
        )
    whole = data_parallel()
    return MeshShardings(
        mesh,
        whole if rules is None else list(rules),
        whole if state_rules is None else list(state_rules),
        batch_axes,
    )


def _followed(path: str, shape: tuple[int, ...], shapes: dict[str, tuple[int, ...]]) -> str | None:
    """The parameter whose slot this is: the longest path that this one ends with, of the same shape."""
    owners = [
        name
        for name, own in shapes.items()
        if own == shape and shape and (not name or path == name or path.endswith(f"/{name}"))
    ]
    return max(owners, key=len, default=None)


def _spec_text(spec: PartitionSpec) -> str:
    entries = [",".join(names_of(entry)) or "-" for entry in spec]
    return " × ".join(entries) if any(entry != "-" for entry in entries) else "whole"


def _written(mesh: Mesh) -> str:
    return ",".join(f"{name}={size}" for name, size in mesh.shape.items())
