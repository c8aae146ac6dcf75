"""A report as text: within the width, condensed where there are many methods, coloured by rich."""

import io

import pytest
import rich.console
from reports import METHODS, NASTY, full_report, network_report, row

from fnn.check.reports.report import Report
from fnn.check.reports.text import WIDTH, network_text, report_text


def table_of(text):
    """First line, head, rule and lines up to the first blank one."""
    return text.split("\n\n")[0].splitlines()


def test_the_table_of_many_methods_stays_within_the_width():
    _, head, _, w, b, x = table_of(str(full_report()))
    assert head.split("  ")[0] == "leaf"
    assert [name for name in METHODS if name in head] == [
        "reverse mode",
        "forward mode",
        "numerical",
    ]
    assert w.endswith("vmap WRONG, second order WRONG, 1 WRONG, 9 ok")
    assert b.endswith(f"  {len(METHODS) - 3} ok")
    assert x.endswith("  complex step kink, 11 ok")
    assert "undecided" in x  # numerical, in its own column
    assert max(map(len, table_of(str(full_report())))) <= WIDTH


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_table_counts_what_it_cannot_name(width):
    lines = table_of(report_text(full_report(), width))[1:]
    assert max(map(len, lines)) <= width
    assert "WRONG" in lines[2]
    assert len({len(line) for line in lines}) == 1


def test_a_narrow_table_of_a_network_cuts_the_beginnings_of_names():
    lines = table_of(network_text(network_report(), 100))[1:]
    assert max(map(len, lines)) <= 100
    assert lines[2].startswith("…")
    assert lines[2].split()[0].endswith("convolution")
    assert lines[2].endswith("WRONG")


def test_the_first_line_counts_what_has_no_verdict():
    right = Report("a", (row(), row(verdict="kink"), row(verdict="undecided")))
    assert str(right).splitlines()[0] == "a: ok, 1 comparisons agree, 1 kink, 1 undecided"
    assert str(full_report()).splitlines()[0] == "fused(4): WRONG, 4 of 45 comparisons"


def test_a_report_without_rows_says_so():
    assert str(Report("a", ())).splitlines()[0] == "a: ok, nothing to compare"


def test_what_says_most_comes_first():
    """Reverse mode before a larger error elsewhere, and before both a wrong structure."""
    words = row(
        "structure", "x", "wrong", relative=float("inf"), element=None, hand="a", reference="b"
    )
    product = row("forward mode", "x", "wrong", relative=9.0, element=None)
    others = [product, row("second order", "x", "wrong", relative=5.0), row(verdict="wrong"), words]
    found = [failure.method for failure in Report("a", tuple(others)).failures]
    assert found == ["structure", "reverse mode", "second order", "forward mode"]


def test_the_likely_fault_the_open_rows_and_the_branches_are_paragraphs():
    _, failure, numerical, kink, branches = str(full_report()).split("\n\n")
    assert "\n  likely: a constant factor of 1.5\n  asked: " in failure
    assert "  also: second order nan, full Jacobian inf, vmap 2.5e-01" in failure.replace(
        "\n    ", " "
    )
    assert numerical.startswith("x: numerical at index (2, 3), undecided\n")
    assert kink.startswith("x: complex step at index (2, 3), kink\n")
    assert branches.splitlines() == [
        "branches that no probe reached:",
        "  layers/pool.py:118: select_n, the true side; reached by x = -0.3 at (0, 4)",
    ]


def test_a_network_lists_open_rows_in_a_line_each():
    text = str(network_report())
    assert "  trunk/block_1/body/convolution x: complex step, kink" in text
    assert "trunk/block_1/body/convolution (convolution(64, 3x3)) params/w: reverse mode" in text
    assert max(map(len, table_of(text))) <= WIDTH


def drawn(report, width=120, **options):
    file = io.StringIO()
    console = rich.console.Console(file=file, width=width, **options)
    console.print(report, highlight=False)
    return file.getvalue()


@pytest.mark.parametrize("report", [full_report(), network_report(), full_report(NASTY)])
def test_rich_draws_the_same_text_in_colour(report):
    plain = [line.rstrip() for line in drawn(report, width=500).splitlines()]
    text = (network_text if hasattr(report, "entries") else report_text)(report, 500)
    assert plain == [line.rstrip() for line in text.splitlines()]
    coloured = drawn(report, force_terminal=True, color_system="standard")
    assert "\x1b[1;31m2.5e-01 WRONG\x1b[0m" in coloured
    assert "\x1b[36mkink\x1b[0m" in coloured


def test_rich_draws_a_table_that_fits_its_console():
    lines = drawn(full_report(), width=80).split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["params/w", "params/b", "x"]
