"""Functions that are given as options, looked at before they are called within a compiled step."""

import sys
from collections.abc import Callable, Iterator, Sequence
from inspect import Signature, signature
from typing import Any


def not_taken(function: Callable[..., Any], wanted: Sequence[str]) -> Signature | None:
    """What the function takes, if it cannot be called with these arguments, by position.

    None where it can, and of one that does not say, such as some that are written in C.
    """
    said: Signature | None = None
    # A decorator may take other arguments than what it wraps, which `functools.wraps` hides.
    for each in _wrapped(function):
        try:
            taken = signature(each, follow_wrapped=False)
        except ValueError:
            continue
        try:
            taken.bind(*wanted)
        except TypeError:
            said = said or taken
        else:
            return None
    return said


def _wrapped(function: Any) -> Iterator[Any]:
    """The function, what it wraps, and so on."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def check_takes(function: object, wanted: Sequence[str], where: str) -> None:
    """Refuse what is no function of these arguments, such as a function that makes one.

    Raises:
      TypeError: saying what came, and what to try.
    """
    arguments = ", ".join(wanted)
    if not callable(function):
        raise TypeError(f"{where}: expected a function of ({arguments}), got {function!r:.80}")
    taken = not_taken(function, wanted)
    if taken is not None:
        name = getattr(function, "__name__", type(function).__name__)
        # Neither a lambda nor an object that is called, such as a partial, can be called by this name.
        named = getattr(function, "__name__", "<lambda>") != "<lambda>"
        mend = f"; if it makes such a function, call it: {name}(…)" if named else ""
        raise TypeError(
            f"{where}: expected a function of ({arguments}), got {name}, which takes "
            f"({', '.join(taken.parameters)}){mend}"
        )


def is_public(function: object, package: str) -> bool:
    """Whether this is a function that stands under its own name in a module of the package."""
    name = getattr(function, "__module__", None) or ""
    if not name.startswith(f"{package}."):
        return False
    return getattr(sys.modules.get(name), getattr(function, "__name__", ""), None) is function
