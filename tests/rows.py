"""Which rows of a table a property runs over at once, and which among the slow tests."""

import re
from collections.abc import Iterable, Mapping

import pytest


def first_of_each(rows: Iterable[str] | Mapping[str, object]) -> list:
    """All rows, as parameters; those that repeat a function with other settings are slow.

    The name of a row begins with that of its function: ``convolution, strided`` repeats ``convolution``.
    Given a mapping, the parameters are its values.
    """
    parameters, seen = [], set()
    for name in rows:
        function = re.split(r"[ ,]", name)[0]
        marks = (pytest.mark.slow,) if function in seen else ()
        seen.add(function)
        value = rows[name] if isinstance(rows, Mapping) else name
        parameters.append(pytest.param(value, id=name, marks=marks))
    return parameters
