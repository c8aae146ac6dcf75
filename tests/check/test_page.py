"""The HTML page: whole, escaped, without anything to load, and drawn by a real browser."""

import html
import re
import shutil
import subprocess

import pytest
from html_pages import Page
from reports import METHODS, NASTY, full_report, network_report, row

from fnn.check.reports.report import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


REPORTS = {"leaf": full_report(), "network": network_report(), "right": Report("a", (row(),))}


@pytest.mark.parametrize("name", REPORTS)
def test_it_loads_nothing_and_runs_nothing(name):
    text = REPORTS[name].to_html()
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object"})
    attributes = {key for _, found in page.tags for key in found}
    assert attributes.isdisjoint({"src", "href", "srcset", "onload", "onclick"})


def test_it_shows_the_verdict_and_each_leaf_by_method():
    page = Page(full_report().to_html())
    assert page.of("h1") == ["fused(4)"]
    assert "WRONG, 4 of 45 comparisons" in page.of("p")
    assert set(METHODS) <= set(page.of("th"))
    assert {"params/w", "params/b", "x"} <= set(page.of("code"))
    cells = [attributes["class"] for tag, attributes in page.tags if tag == "td" and attributes]
    assert len(cells) == 45
    assert cells.count("wrong-2") == 4  # all are off by more than a million times the tolerance
    assert cells.count("kink-0") == cells.count("undecided-0") == 1


def test_it_shows_both_values_the_predicate_the_likely_fault_and_where():
    page = Page(full_report().to_html())
    (card,) = page.of("article")
    for part in ("params/w", "Likely: a constant factor of 1.5", "reverse mode", "(2, 3)", "1.5"):
        assert part in card
    assert "‖hand − reference‖ <= 1e-10 · max(‖reference‖, 1.2e-03), normal dy" in card
    assert {"vmap 2.5e-01 WRONG", "second order nan WRONG"} <= set(page.of("li"))
    facts = dict(zip(page.of("dt"), page.of("dd"), strict=True))
    assert (facts["jax"], facts["backend"], facts["seed"]) == ("0.10.2", "cpu", "7")
    assert (facts["dtype"], facts["matmul precision"]) == ("float64", "highest")


def test_it_shows_what_is_open_and_the_branches():
    page = Page(full_report().to_html())
    assert {"No verdict", "Branches that no probe reached"} <= set(page.of("h2"))
    assert {"layers/pool.py:118", "x = -0.3 at (0, 4)"} <= {*page.of("code"), *page.of("td")}
    right = Page(REPORTS["right"].to_html())
    assert right.of("h2") == ["Leaf by method", "Every comparison", "Where"]


def test_a_network_has_its_layers_by_method_and_each_by_leaf():
    page = Page(network_report().to_html())
    titles = page.of("summary")
    assert "WRONG trunk/block_1/body/convolution · convolution(64, 3x3)" in titles
    opened = [attributes for tag, attributes in page.tags if tag == "details"]
    assert ["open" in attributes for attributes in opened[:3]] == [True, False, False]
    assert "convolution(64, 3x3), 36,928 parameters" in page.of("span")


def test_names_are_escaped():
    report = full_report(NASTY, ("params/w", NASTY))
    text = report.to_html()
    assert "<b onload" not in text
    page = Page(text)
    assert page.of("h1") == [NASTY]
    assert NASTY in page.of("code")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")
@pytest.mark.parametrize("name", ["leaf", "network"])
def test_a_browser_without_network_draws_it(name, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(REPORTS[name].to_html(), "utf-8")
    picture = tmp_path / "report.png"
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={tmp_path}/profile",
        ),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,1600"),
    ]

    def browse(*options):
        ran = subprocess.run(
            [*command, *options, file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return ran.stdout

    dom = browse("--dump-dom")
    assert dom.count('<td class="ok-') == REPORTS[name].to_html().count('<td class="ok-') > 0
    assert html.unescape(dom).count("WRONG") == html.unescape(REPORTS[name].to_html()).count(
        "WRONG"
    )
    browse(f"--screenshot={picture}")
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(data) > 40_000  # a blank page is a tenth of it
