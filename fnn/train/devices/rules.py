"""Path rules that say how each parameter is split over a mesh, and sets of them that are ready to use.

A rule is a pattern, as in `fnn.optimizers` (a shell glob over the whole path), and how what it matches
is split. The first that matches a parameter decides, so the narrow ones come first and a ``*`` last:

    [("*/expand/*", column("model")), ("embed/table", P("model", None)), ("*", P())]
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from jax.sharding import PartitionSpec

from fnn.optimizers.rules import check_matches

P = PartitionSpec
# (path, shape, sizes of the mesh's axes) -> a spec.
SpecFunction = Callable[[str, tuple[int, ...], Mapping[str, int]], PartitionSpec]
# A spec; a function that gives one; or several of these, of which the first that fits the shape is taken.
Spec = PartitionSpec | SpecFunction | Sequence[PartitionSpec | SpecFunction]


class Rule(NamedTuple):
    """How the parameters that a pattern matches are split."""

    pattern: str
    spec: Spec
    required: bool = True  # whether it is an error that it decides nothing


Rules = Sequence[Rule | tuple[str, Spec]]


def resolve(
    rules: Rules, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]
) -> dict[str, PartitionSpec]:
    """The spec of every path.

    Args:
      rules: the first that matches a path decides.
      shapes: by path.
      sizes: of the mesh's axes, by name.

    Raises:
      ValueError: a pattern matches no path, or only such as earlier ones have decided; a path has no
        rule; or a spec does not fit: more axes than the shape has, an axis that the mesh has not, one
        that is used twice, or a size that it does not divide.
    """
    known = [Rule(*rule) for rule in rules]
    decided: dict[str, Rule] = {}
    for path in shapes:
        found = next((rule for rule in known if fnmatchcase(path, rule.pattern)), None)
        if found is None:
            raise ValueError(
                f"expected a rule for every parameter, got none for {path!r}; a last "
                "('*', PartitionSpec()) keeps the rest whole on every device"
            )
        decided[path] = found
    for rule in known:
        if rule.required and rule.pattern != "*" and shapes and rule not in decided.values():
            check_matches(rule.pattern, list(shapes))
            raise ValueError(
                f"expected patterns that decide a parameter each, got {rule.pattern!r} after others "
                "that take all that it matches; put the narrow ones first"
            )
    return {path: _spec(path, rule.spec, shapes[path], sizes) for path, rule in decided.items()}


def _spec(path: str, spec: Spec, shape: tuple[int, ...], sizes: Mapping[str, int]) -> PartitionSpec:
    """The spec, or the first of several that fits."""
    if not isinstance(spec, PartitionSpec) and isinstance(spec, Sequence):
        *others, last = spec
        for other in others:
            try:
                return _spec(path, other, shape, sizes)
            except MisfitError:
                continue
        return _spec(path, last, shape, sizes)
    found = spec if isinstance(spec, PartitionSpec) else spec(path, shape, sizes)
    check_fit(path, found, shape, sizes)
    return found


class MisfitError(ValueError):
    """A spec that does not fit a shape."""


def check_fit(
    path: str, spec: PartitionSpec, shape: tuple[int, ...], sizes: Mapping[str, int]
) -> None:
    """Refuse a spec that does not fit.

    Raises:
      ValueError: it names an axis that the mesh has not, or one twice.
      MisfitError: more axes than the shape has, or a size that does not divide.
    """
    used = [name for names in spec for name in names_of(names)]
    unknown = [name for name in used if name not in sizes]
    if unknown or len(set(used)) < len(used):
        raise ValueError(
            f"{path}: expected axes of the mesh ({', '.join(sizes)}), each at most once, got {spec}"
        )
    if len(spec) > len(shape):
        raise MisfitError(f"{path}: expected at most {len(shape)} entries for {shape}, got {spec}")
    for size, names in zip(shape, spec, strict=False):
        parts = math.prod(sizes[name] for name in names_of(names))
        if size % parts:
            raise MisfitError(
                f"{path}: expected a size that falls into the {parts} parts of {names!r}, got {size} of "
                f"{shape}; take another mesh, or a list of specs, of which the first that fits is taken"
            )


def names_of(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the mesh's axes in an entry of a spec."""
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, str) else tuple(entry)


def trailing(*entries: str | tuple[str, ...] | None) -> SpecFunction:
    """A spec for the last axes, whatever comes before, such as the blocks of a `repeat`."""

    def spec(path: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> PartitionSpec:
        if len(shape) < len(entries):
            raise MisfitError(f"{path}: expected at least {len(entries)} axes, got {shape}")
        return P(*[None] * (len(shape) - len(entries)), *entries)

    return spec


def column(axis: str = "model") -> SpecFunction:
    """Of a linear layer y = x w + b, the outputs are split: w by columns, and b (Shoeybi et al., 2019).

    Every device has the whole of x and makes its part of y, without a word to the others. What is not
    called w… is taken for a bias.
    """
    kernel, bias = trailing(None, axis), trailing(axis)
    return lambda path, *rest: (kernel if _is_kernel(path) else bias)(path, *rest)


def row(axis: str = "model") -> SpecFunction:
    """Of a linear layer y = x w + b, the inputs are split: w by rows; b is whole (Shoeybi et al., 2019).

    Every device has its part of x, which a `column` layer made, and the sum of their y is y.
    """
    kernel, bias = trailing(axis, None), trailing()
    return lambda path, *rest: (kernel if _is_kernel(path) else bias)(path, *rest)


def _is_kernel(path: str) -> bool:
    return path.rpartition("/")[-1].startswith("w")


def data_parallel() -> list[Rule]:
    """Every device holds all parameters, and its part of each batch; they add up their gradients."""
    return [Rule("*", P())]


def fully_sharded(
    axis: str = "data", *, min_size: int = 1024, base: Rules | None = None
) -> list[Rule]:
    """Every device holds a part of each parameter and of its slots (Rajbhandari et al., 2020, ZeRO).

    A parameter is split along the largest of its axes that `axis` divides and `base` leaves whole; it
    stays as `base` has it if there is no such axis, or if it has fewer than `min_size` elements, of which
    the messages would cost more than the memory is worth. See `train.shardings` for how it is used.

    Args:
      axis: of the mesh; one that batches are split over.
      min_size: in elements.
      base: rules that split the parameters otherwise already, such as `tensor_parallel_transformer`.
    """

    def also(spec: Spec) -> SpecFunction:
        def split(path: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> PartitionSpec:
            before = _spec(path, spec, shape, sizes)
            entries = [*before, *[None] * (len(shape) - len(before))]
            if axis not in sizes:
                raise ValueError(f"{path}: expected an axis of {', '.join(sizes)}, got {axis!r}")
            free = [
                i
                for i, size in enumerate(shape)
                if entries[i] is None and size and size % sizes[axis] == 0
            ]
            if not free or math.prod(shape) < min_size:
                return before
            entries[max(free, key=lambda i: shape[i])] = axis
            return P(*entries)

        return split

    rules = [Rule(*rule) for rule in (data_parallel() if base is None else base)]
    return [rule._replace(spec=also(rule.spec)) for rule in rules]


def tensor_parallel_mlp(hidden: int, axis: str = "model") -> list[Rule]:
    """`models.mlp` with `hidden` hidden layers: by columns and by rows in turn (Shoeybi et al., 2019).

    One sum over the devices for every two layers, in each pass. The logits go by rows after an odd number
    of hidden layers; else they are whole.

    Raises:
      TypeError: the number of hidden layers is none, such as a layer's name, or the axis no name.
      ValueError: there is no hidden layer to split.
    """
    _check_axis("tensor_parallel_mlp", axis)
    if not isinstance(hidden, int) or isinstance(hidden, bool):
        raise TypeError(
            "tensor_parallel_mlp: expected how many hidden layers the models.mlp has, and the axis of "
            f"the mesh, as in tensor_parallel_mlp(2, 'model'), got {hidden!r} and {axis!r}; for layers "
            "of other names, write a rule each: see train.shardings"
        )
    if hidden < 1:
        raise ValueError(f"tensor_parallel_mlp: expected at least one hidden layer, got {hidden}")
    rules = [
        Rule(f"*hidden_{i}/*", column(axis) if i % 2 else row(axis)) for i in range(1, hidden + 1)
    ]
    if hidden % 2:
        rules.append(Rule("*logits/*", row(axis)))
    return [*rules, Rule("*", P())]


def tensor_parallel_transformer(axis: str = "model") -> list[Rule]:
    """`models.transformer_block`, looped or not, and what `models.gpt` puts around it.

    Heads and the MLP's hidden features are split: into the attention and the MLP by columns, out of them
    by rows, so that each ends in one sum over the devices, in each pass. The embedding's table is split
    by ids and the logits' matrix by columns, or both are whole, if the mesh does not divide the number of
    ids. Source: Shoeybi et al. (2019), Megatron-LM.

    Raises:
      TypeError: the axis is no name.
    """
    _check_axis("tensor_parallel_transformer", axis)
    return [
        Rule("*/attend/?_out", row(axis)),
        Rule("*/attend/*", column(axis)),
        Rule("*/expand/*", column(axis)),
        Rule("*/project/*", row(axis)),
        Rule("*embed/table", [P(axis, None), P()], required=False),
        Rule("*logits/w", [column(axis), P()], required=False),
        Rule("*", P()),
    ]


def _check_axis(where: str, axis: object) -> None:
    if not isinstance(axis, str):
        raise TypeError(f"{where}: expected the name of an axis of the mesh, got {axis!r}")
