"""CSV tables: numbers and classes, against Python's own reading of the same lines."""

import io
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnn.data import read_csv


def read(text, **options):
    data = text if isinstance(text, bytes) else text.encode()
    return read_csv(io.BytesIO(data), **({"header": False} | options))


def test_numbers_and_classes_by_the_name_of_a_column():
    table = read(
        "width, kind ,height\n1,cat,2.5\r\n-3e2,dog, 4\n5,cat,.5", header=True, label="kind"
    )
    expected = np.array([[1, 2.5], [-300, 4], [5, 0.5]], np.float32)
    np.testing.assert_array_equal(table.x, expected, strict=True)
    np.testing.assert_array_equal(table.y, np.array([0, 1, 0], np.int32), strict=True)
    assert table.columns == ("width", "height")
    assert table.classes == ("cat", "dog")


@pytest.mark.parametrize("label", [-1, 2])
def test_without_a_header_columns_are_numbers(label):
    table = read("1,2,b\n3,4,a\n", label=label)
    assert table.columns == ("0", "1")
    assert table.x.tolist() == [[1, 2], [3, 4]]
    assert table.y.tolist() == [1, 0]
    assert table.classes == ("a", "b")
    assert read("1,2,b\n3,4,a\n", label=label).y.dtype == np.int32


def test_without_a_label_every_column_is_of_numbers():
    table = read("1,2\n3,4")
    assert table.x.tolist() == [[1, 2], [3, 4]]
    assert table.y is None
    assert table.classes == ()


def test_whole_numbers_as_classes_are_sorted_as_numbers():
    assert read("0,10\n0,9\n0,2", label=1).classes == ("2", "9", "10")
    assert read("0,10\n0,9\n0,x", label=1).classes == ("10", "9", "x")


def test_a_test_table_takes_the_classes_of_its_training_table():
    table = read("0,b\n1,b", label=1, classes=("a", "b", "c"))
    assert table.y.tolist() == [1, 1]
    assert table.classes == ("a", "b", "c")
    with pytest.raises(ValueError, match=r"line 2: expected a class, one of a, b, got 'd'"):
        read("0,b\n1,d", label=1, classes=("a", "b"))
    with pytest.raises(ValueError, match="expected different classes"):
        read("0,a", label=1, classes=("a", "a"))


def test_quotes_delimiters_and_a_byte_order_mark():
    assert read('"1","2,x"\n3,"say ""y"""', label=1).classes == ("2,x", 'say "y"')
    assert read("1;2", delimiter=";").x.tolist() == [[1, 2]]
    table = read("\ufeffa,b\n1,2".encode(), header=True)
    assert table.columns == ("a", "b")


CELLS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_every_float32_comes_back_bit_for_bit(rows):
    expected = np.array(rows, np.float32)
    text = "\n".join(",".join(repr(float(cell)) for cell in row) for row in expected)
    assert read(text).x.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "expected a table, got an empty file"),
        ("a,b\n", {"header": True}, "expected at least one row of numbers"),
        ("1,2\n3\n", {}, "line 2: expected 2 cells, got 1"),
        ("1,2\n\n\n3,4", {}, "line 2: expected 2 cells, got an empty line"),
        ("\n1,2", {}, "line 1: expected the cells of a table, got an empty line"),
        ("\n\n", {}, "expected a table, got an empty file"),
        ("1,2\n3,4,5\n", {}, "line 2: expected 2 cells, got 3"),
        (
            "1,nan",
            {},
            "line 1, column 1: expected a number that float32 can hold, got 'nan'; write a number",
        ),
        ("1,-inf", {}, "got '-inf'"),
        ("1,1e39", {}, "got '1e39'"),
        ("inf,-inf", {}, "got 'inf'"),
        ("1,", {}, "got an empty cell"),
        ("1,1_000", {}, "got '1_000'"),
        ("1,0x10", {}, "got '0x10'"),
        (b"1,2\n\xff,1", {}, "line 2: expected UTF-8"),
        ('1,"2\n3"', {}, "line 1: expected quoted cells"),
        ('1,"2"3', {}, "line 1: expected quoted cells"),
        ("1,2\r3,4", {}, "line 1: expected lines that end in a newline"),
        ("a,a\n1,2", {"header": True}, "expected different names of columns, got ['a', 'a']"),
        ("a,b\n1,2", {"header": True, "label": "c"}, "expected a column 'c', got a, b"),
        ("1,2", {"label": 2}, "expected a column 2, got 2 columns"),
        ("1,2", {"label": -3}, "expected a column -3"),
        ("1\n2", {"label": 0}, "expected a column of numbers beside the labels"),
        ("1,\n", {"label": 1}, "line 1: expected a label, got an empty cell"),
        ("1,a\n1,b\n1,c", {"label": 1, "max_classes": 2}, "line 3: expected at most 2 different"),
        ("1,2\n", {"max_bytes": 3}, "expected at most 3 bytes (max_bytes), got 4"),
        ("1" * (2**20 + 1), {}, "line 1: expected at most 1048576 bytes in a line"),
    ],
)
def test_what_is_no_table_is_refused_by_line(text, options, words, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_csv(path, **({"header": False} | options))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n"])
def test_a_delimiter_is_one_character(delimiter):
    with pytest.raises(ValueError, match="expected a delimiter of one character"):
        read("1,2", delimiter=delimiter)


def test_memory_is_the_tables_own(tmp_path):
    """The shortest cells there are: two bytes of file for four of float32."""
    path = tmp_path / "long.csv"
    path.write_text("1,2,3,4,5,6,7,a\n" * 5_000)
    tracemalloc.start()
    table = read_csv(path, header=False, label=-1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.x.shape == (5_000, 7)
    # Twice the numbers' own bytes at the moment an array grows, and the labels beside them.
    assert peak < 2.6 * table.x.nbytes


def test_empty_lines_at_the_end_are_nothing():
    for end in ("\n", "\n\n", "\r\n \r\n"):
        assert read(f"1,2\n3,4{end}").x.tolist() == [[1, 2], [3, 4]]
        assert read(f"1\n2{end}").x.tolist() == [[1], [2]]
        assert read(f"1,a\n2,b{end}", label=-1).y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("head", "label"), [("0,1,2", None), ("1,2,kind", 2), ("400.5,401.0,401.5", None), ("0", None)]
)
def test_numbers_that_rise_in_equal_steps_are_names(head, label):
    row = ",".join("a" if n == label else "1" for n in range(head.count(",") + 1))
    table = read(f"{head}\n{row}", header=True, label=label)
    assert len(table.x) == 1
    assert table.columns == tuple(name for name in head.split(",") if name != "kind")


IRIS = "sepal,petal,species\n5.1,1.4,setosa\n7,4.7,versicolor\n"


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (
            IRIS,
            {"header": True},
            r"line 2, column 'species': .*'setosa'; .* give label='species'; other",
        ),
        (IRIS, {}, r"line 1, column 0: .* got 'sepal'; .* header=True"),
        (
            "x1,x2\n1,2\n",
            {},
            r"line 1, column 0: .* got 'x1'; .* give header=True; if .* label=0; other",
        ),
        ("x1,y\n1,2\n", {"label": 1}, r"got 'x1'; .* give header=True; otherwise write the column"),
        ("1,2\n3,x4\n", {}, r"line 2, column 1: .* got 'x4'; if it is the class"),
        ("1,2,b\n3,x4,a\n", {"label": 2}, r"column 1: .* got 'x4'; write the column as numbers"),
        ("1,-.5e\n", {}, r"column 1: .* got '-.5e'; write a number there"),
        ("1,2,3\n1,a,b\n", {"label": 1}, r"column 2: .* got 'b'; write the column as numbers"),
        ("1,1,b\na,1,b\n", {"label": -1}, r"column 0: .* got 'a'; write the column as numbers"),
        ("1,2\n3, \n", {}, r"line 2, column 1: .* got an empty cell; write a number there"),
        (
            "5.1,3.5,setosa\n7,4.7,versicolor",
            {"header": True, "label": -1},
            r"line 1: .* got numbers, 5.1, 3.5, setosa; .* give header=False",
        ),
        ("5,0,3\n1,2,3", {"header": True}, "got numbers, 5, 0, 3; .* header=False"),
        ("3,1\n1,2", {"header": True}, "got numbers"),
        ("7,8.5\n1,2", {"header": True}, "got numbers"),
        ("7\n8", {"header": True}, "got numbers"),
        ("5,0,0\n1,2,3", {"header": True}, "different names .* give header=False"),
        (IRIS.replace(",", ";"), {"header": True, "label": -1}, r"'sepal;petal.*delimiter=';'$"),
        ("1\t2\n3\t4", {}, r"give delimiter='\\t'$"),
        ("1 2\n3 4", {}, "give delimiter=' '$"),
        ("1,2\n3,4", {"delimiter": ";"}, "give delimiter=','$"),
        (IRIS, {"header": True, "label": "Species"}, "got sepal, .*; close to it: 'species'$"),
        (IRIS, {"header": True, "label": "kind"}, "got sepal, petal, species$"),
        (IRIS, {"label": "species"}, "got 0, 1, 2; .* give header=True$"),
        (IRIS, {"label": -1, "classes": ["setosa"]}, "got 'sepal'; .* give header=True"),
        ("1,2\n3,1e99\n", {}, r"line 2, column 1: .* got '1e99'; write a number there"),
    ],
)
def test_text_among_numbers_is_refused_with_what_to_do(text, options, words):
    with pytest.raises(ValueError, match=words):
        read(text, **options)


def test_the_advice_is_right():
    table = read(IRIS, header=True, label="species")
    assert table.classes == ("setosa", "versicolor")
    assert table.y.tolist() == [0, 1]
