"""What is common to all foreign layouts: which of their modules is which of our layers, and the rest.

Their weights are a flat dictionary of named arrays. A *module* is the names with one stem, such as
``features.0`` with ``weight`` and ``bias``. A layout knows how our layer's weights look as a module of
theirs (`theirs`), and back (`ours`); names and shapes to expect follow from the first.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.exchange.places import Place, filled, places
from fnn.layer import Layer, PyTree

Tensors = Mapping[str, Any]  # arrays by name
Module = dict[str, Any]  # NumPy arrays by the name within the module: weight, bias


class Layout(NamedTuple):
    """The rules of one framework."""

    name: str
    theirs: Callable[[Place], Module]
    ours: Callable[[Place, Module], tuple[PyTree, PyTree]]
    modules: Callable[
        [Sequence[str]], dict[str, tuple[str, str]]
    ]  # full name -> (module, name in it)
    join: Callable[[str, str], str]  # the inverse
    called: Callable[[Place], str]  # the module that one of our layers is written as
    ignored: tuple[str, ...]  # patterns of names that are no weights


class Imported(NamedTuple):
    """A network's weights, from elsewhere."""

    params: PyTree
    state: PyTree
    taken: dict[str, str]  # our path -> their module; to write them out by the same names
    ignored: tuple[str, ...]  # their names that were not used


def load(
    layout: Layout,
    net: Layer,
    params: PyTree,
    state: PyTree,
    tensors: Tensors,
    names: Mapping[str, str] | None,
    ignore: Sequence[str],
) -> Imported:
    """The weights of `tensors` in the trees of `params` and `state`.

    Raises:
      ValueError: they are not those of this network; the message lists what is missing, extra, or of
        another shape. TypeError: a layer has no counterpart in this layout.
    """
    skipped = tuple(
        name
        for name in tensors
        if any(fnmatch.fnmatch(name, pattern) for pattern in (*layout.ignored, *ignore))
    )
    given: dict[str, Module] = {}
    split = layout.modules([name for name in tensors if name not in skipped])
    for name, (module, within) in split.items():
        given.setdefault(module, {})[within] = np.asarray(tensors[name])
    here = places(net, params, state)
    wanted = {place.path: layout.theirs(place) for place in here}
    taken = _matched(wanted, given, _checked(names, here, given, layout))
    faults = [
        f"  missing: {place}: {_listed(wanted[place.path])}"
        for place in here
        if place.path not in taken
    ]
    for path, module in taken.items():
        faults += _differences(f"{path or '(network)'} <- {module}", wanted[path], given[module])
    used = set(taken.values())
    faults += [f"  extra: {m}: {_listed(held)}" for m, held in given.items() if m not in used]
    if faults:
        raise ValueError(
            f"expected the weights of this network in {layout.name}'s layout, got others; name the "
            "modules where their order differs, or ignore what is not needed:\n" + "\n".join(faults)
        )

    def fill(place: Place) -> tuple[PyTree, PyTree]:
        if place.path not in taken:
            return place.params, place.state
        return layout.ours(place, given[taken[place.path]])

    new = filled(fill, net, params, state)
    new_params, new_state = jax.tree.map(_like, (params, state), new)
    return Imported(new_params, new_state, taken, skipped)


def save(
    layout: Layout, net: Layer, params: PyTree, state: PyTree, names: Mapping[str, str] | None
) -> dict[str, np.ndarray]:
    """The weights by their names; modules are called after our paths, or as `names` says.

    Raises:
      ValueError: `names` names no layer, or two names are one. TypeError: as for `load`.
    """
    here = places(net, params, state)
    unknown = sorted(set(names or {}) - {place.path for place in here})
    if unknown:
        raise ValueError(
            f"expected names of layers with weights, {[p.path for p in here]}, got {unknown}"
        )
    tensors: dict[str, np.ndarray] = {}
    for place in here:
        module = (names or {}).get(place.path, layout.called(place))
        for within, value in layout.theirs(place).items():
            name = layout.join(module, within)
            if name in tensors:
                raise ValueError(f"{place}: expected names of its own, but {name!r} is taken")
            # Not `ascontiguousarray`, which makes a row of one number.
            tensors[name] = np.asarray(value, order="C")
    return tensors


def natural(names: Sequence[str]) -> list[str]:
    """The names as they are; if they are sorted by their letters, with 2 before 10.

    Sorted names are those of a file, whose order says nothing of the network.
    """
    if list(names) != sorted(names):
        return list(names)
    return sorted(names, key=_by_number)


def _by_number(name: str) -> list[tuple[int, str]]:
    """Digits count as numbers: pairs compare where a number meets letters."""
    return [
        (int(part), "") if part.isdigit() else (-1, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def _checked(
    names: Mapping[str, str] | None,
    here: Sequence[Place],
    given: Mapping[str, Module],
    layout: Layout,
) -> dict[str, str]:
    """The names that were given, all of which must exist, once."""
    paths, faults = {place.path for place in here}, []
    names = dict(names or {})
    for path, module in names.items():
        if path not in paths:
            faults.append(f"{path!r} is no layer with weights; there are {sorted(paths)}")
        if module not in given:
            faults.append(f"{module!r} is no module of theirs; there are {list(given)}")
    if len(set(names.values())) != len(names):
        faults.append(f"one module is given to two layers, in {names}")
    if faults:
        raise ValueError(f"names for {layout.name}'s layout: " + "; ".join(faults))
    return names


def _matched(
    wanted: Mapping[str, Module], given: Mapping[str, Module], named: dict[str, str]
) -> dict[str, str]:
    """Their module for each path: the named one; or the next whose arrays have the shapes expected; or,
    for a message that says what differs, the next that has arrays of these names.
    """
    taken = {path: named[path] for path in wanted if path in named}
    left = {module: held for module, held in given.items() if module not in taken.values()}
    for alike in (_shapes, sorted):
        for path in (path for path in wanted if path not in taken):
            make = alike(wanted[path])
            found = next((module for module, held in left.items() if alike(held) == make), None)
            if found is not None:
                taken[path] = found
                del left[found]
    return {path: taken[path] for path in wanted if path in taken}


def _shapes(module: Module) -> list[Any]:
    return sorted((name, value.shape) for name, value in module.items())


def _differences(what: str, wanted: Module, given: Module) -> list[str]:
    faults = [
        f"  {what}: missing {n} {wanted[n].shape}" for n in sorted(wanted.keys() - given.keys())
    ]
    faults += [
        f"  {what}: extra {n} {given[n].shape}" for n in sorted(given.keys() - wanted.keys())
    ]
    for n in sorted(wanted.keys() & given.keys()):
        if wanted[n].shape != given[n].shape:
            faults.append(f"  {what}: {n}: expected {wanted[n].shape}, got {given[n].shape}")
        elif not jnp.issubdtype(given[n].dtype, jnp.floating):
            faults.append(f"  {what}: {n}: expected floating numbers, got {given[n].dtype}")
    return faults


def _listed(module: Module) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in module.items())


def _like(like: Any, value: Any) -> jax.Array:
    """The new weight in the dtype of the old one, in memory of its own."""
    return jax.device_put(np.asarray(value).astype(like.dtype), may_alias=False)
