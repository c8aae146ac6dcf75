"""`help` of a result says what each of its fields is."""

import pytest

from fnn import data, diagnostics, train
from fnn.diagnostics import plots, report


def named_tuples():
    rooms = (diagnostics, plots, report)
    found = [getattr(room, name) for room in rooms for name in room.__all__]
    return [each for each in found if hasattr(each, "_fields")]


@pytest.mark.parametrize(
    "kind", [*named_tuples(), data.Table, train.TrainState], ids=lambda kind: kind.__name__
)
def test_each_field_is_described(kind):
    _, _, said = kind.__doc__.partition("\n    Attributes:\n")
    lines = [line.strip().partition(": ") for line in said.splitlines() if line[6:7] != " "]
    described = {name: words for name, _, words in lines if words}
    assert list(described) == list(kind._fields)
