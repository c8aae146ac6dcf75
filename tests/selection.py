"""Which rows of a table a property runs over at once, and which among the slow tests."""

import re
from collections.abc import Iterable

import pytest


def first_of_each(names: Iterable[str]) -> list:
    """The names of all rows, as parameters; those that repeat a function with other settings are slow.

    The name of a row begins with that of its function: ``convolution, strided`` repeats ``convolution``.
    """
    parameters, seen = [], set()
    for name in names:
        function = re.split(r"[ ,]", name)[0]
        marks = (pytest.mark.slow,) if function in seen else ()
        seen.add(function)
        parameters.append(pytest.param(name, id=name, marks=marks))
    return parameters
