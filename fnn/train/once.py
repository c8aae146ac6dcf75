"""Compilation that happens once, and says why if it would happen again."""

from collections.abc import Callable
from typing import Any

import jax

from fnn.tree import paths


class RetraceError(RuntimeError):
    """A function that was compiled for one set of shapes was called with another."""


def jit_once(name: str, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``jax.jit(function)`` that refuses a second trace.

    A step that is traced twice trains seconds slower and nobody notices. What differs is nearly always
    one leaf: a ragged last batch, a float64 from NumPy, a Python number. Within `jax.disable_jit`
    nothing is compiled and nothing is refused.

    Raises (at the second trace):
      RetraceError: naming the leaves whose shape, dtype or weak type differ.
    """
    seen: list[dict[str, str]] = []
    settings: Any = jax.config  # whose entries have no types

    def counted(*args: Any) -> Any:
        if settings.jax_disable_jit:
            return function(*args)
        now = {path: _describe(leaf) for path, leaf in paths(args)}
        if seen:
            raise RetraceError(_difference(name, seen[0], now))
        result = function(*args)
        seen.append(now)  # only a trace that succeeded is the one that was compiled
        return result

    return jax.jit(counted, **options)


def _describe(leaf: Any) -> str:
    aval = jax.typeof(leaf)
    return aval.str_short() + (" (weakly typed)" if getattr(aval, "weak_type", False) else "")


def _difference(name: str, first: dict[str, str], now: dict[str, str]) -> str:
    lines = [f"{name} was compiled once and is asked for another compilation:"]
    for path in sorted(first.keys() | now.keys()):
        was, came = first.get(path, "nothing"), now.get(path, "nothing")
        if was != came:
            lines.append(f"  argument {path}: expected {was}, got {came}")
    if len(lines) == 1:
        lines.append("  the arguments are alike, so a jax setting or context differs")
    lines.append("Build another one for other shapes: each is compiled once.")
    return "\n".join(lines)
