"""The report page as a text: whole, escaped, nothing to load, and a chart that tells its numbers."""

import base64
import re

import numpy as np
import pytest
from html_pages import Page
from pages import HOSTILE, LAYER, every_section
from pictures import every_picture

from fnn.diagnostics import plots, report, statistics
from fnn.diagnostics.doctor.diagnosis import Verdict
from fnn.diagnostics.findings import Finding
from fnn.diagnostics.report.chart import Curve, chart
from fnn.diagnostics.report.sections import _histogram


@pytest.fixture(scope="module")
def sections():
    return every_section()


@pytest.fixture(scope="module")
def html(sections):
    return report.page(HOSTILE, sections, status=report.Status("stopped", HOSTILE))


def test_it_loads_nothing_and_runs_nothing(html):
    page = Page(html)
    without_data = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|url\(|@import", without_data)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    attributes = {key for _, found in page.tags for key in found}
    assert not {key for key in attributes if key.startswith("on")}
    assert all(
        found["src"].startswith("data:image/png") for tag, found in page.tags if tag == "img"
    )
    (policy,) = [found["content"] for _, found in page.tags if "http-equiv" in found]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in policy


def test_hostile_names_are_text(html):
    page = Page(html)
    assert page.of("h1") == [HOSTILE]
    assert HOSTILE in page.of("title")[0]
    for tag in ("h2", "a", "dt", "dd", "caption", "th", "td", "code"):
        assert HOSTILE in page.of(tag), tag
    assert {page for page in page.of("p") if page == HOSTILE}  # the status, and a note
    assert LAYER in page.of("th")
    labels = [found["aria-label"] for _, found in page.tags if "aria-label" in found]
    assert f"text of {HOSTILE}" in labels
    assert HOSTILE in page.of("pre")


def test_every_picture_is_there_with_its_twin(html):
    page = Page(html)
    images = [found for tag, found in page.tags if tag == "img"]
    assert len(images) == len(every_picture())
    for found in images:
        assert base64.b64decode(found["src"].split(",")[1])[:8] == b"\x89PNG\r\n\x1a\n"
    alts = [found["alt"] for found in images]
    assert alts == [f"picture of {name}: the text below says the same" for name in every_picture()]
    texts = page.of("pre")
    assert all(said in texts for _, said in every_picture().values())


def test_links_lead_to_sections(html, sections):
    page = Page(html)
    ids = [found["id"] for tag, found in page.tags if tag == "section"]
    links = [found["href"].removeprefix("#") for tag, found in page.tags if tag == "a"]
    assert ids == links
    assert page.of("h2") == page.of("a") == [section.title for section in sections]


def test_what_is_sick_stands_first():
    page = Page(report.page("a", [every_section()[0]]))
    marks = [text for text in page.of("span") if text[0] in "✓✗–"]
    assert marks == ["✗ sick", "✓ ok", "– not asked"]


@pytest.mark.parametrize(
    ("values", "blocks"),
    [
        ([0.0, 0.0], "▁"),  # one bin
        ([5.0, 5.0, 0.7], "▁▁▁▁▁▁▁▁▁▁▅▁█"),  # 0 in the middle, two blocks a decade
        ([-5.0, 0.0, 1e-5], "▅▁▁▁▁▁█▁▁▁▁▁▁"),
        ([np.nan], ""),
    ],
)
def test_the_blocks_of_a_layers_values(values, blocks):
    counts = statistics(np.asarray(values, np.float32)).histogram
    assert _histogram(counts) == blocks


def test_findings_are_verdicts():
    found = Finding("hidden", "vanishing", 1e-6, "start with he_normal")
    page = Page(report.page("a", [report.verdicts([found, found._replace(path="other")])]))
    assert [line.split() for line in page.of("li")[-2:]] == [
        ["✗", "sick", "vanishing", "hidden:", "1e-06start", "with", "he_normal"],
        ["✗", "sick", "vanishing", "other:", "1e-06"],  # the advice is said
    ]
    assert "Nothing found." in Page(report.page("a", [report.verdicts([])])).of("p")


def test_a_page_that_refreshes_can_be_paused_and_needs_no_script():
    html = report.page("a", [], status=report.Status("running", "epoch 1"), refresh=2.5)
    page = Page(html)
    assert page.of("label") == [" pause refreshing"]
    (script,) = page.of("script")
    assert "2500" in script
    (plain,) = [found for _, found in page.tags if found.get("http-equiv") == "refresh"]
    assert plain["content"] == "2.5"
    assert html.index("<noscript>") < html.index('"refresh"') < html.index("</noscript>")
    assert "refresh" not in report.page("a", []).split("<body>")[1]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: report.page("a", [report.Section("b", ""), report.Section("B", "")]),
            "two of 'B'",
        ),
        (lambda: report.page("a", [], refresh=0), "refresh in seconds above 0"),
        (lambda: report.picture("b", None, " \n"), "text twin of 'b', got an empty text"),
        (lambda: report.table("b", ["one"], [["1", "2"]]), "expected 1 cells"),
    ],
)
def test_refusals(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("given", ["hello", 3, None])
def test_what_is_no_section(given, tmp_path):
    with pytest.raises(TypeError, match=f"expected sections, .* got {type(given).__name__}"):
        report.page("a", [given])
    page = report.live(tmp_path / "a.html")
    with pytest.raises(TypeError, match=f"expected sections, .* got {type(given).__name__}"):
        page.add(given)
    with pytest.raises(
        TypeError, match=f"a report of one run, of train.fit, got {type(given).__name__}"
    ):
        page(given)


def test_what_is_no_figure(tmp_path):
    for draw in (
        lambda: report.picture("t", None, "x"),
        lambda: plots.save(np.zeros((2, 2)), tmp_path / "deep" / "a.png"),
    ):
        with pytest.raises(TypeError, match=r"expected a matplotlib Figure, .* got (None|nd)"):
            draw()
    assert not list(tmp_path.iterdir())


def test_a_status_that_is_none():
    with pytest.raises(ValueError, match="'sick', 'ok', 'not asked', got 'poorly'"):
        report.verdicts([Verdict("data", "poorly", "")])


class TestChart:
    @staticmethod
    def places(drawn, kind="line"):
        """The points of each stroke of the line, in the chart's coordinates."""
        path = re.search(rf'<path class="{kind} k0" d="([^"]*)"', drawn).group(1)
        strokes = [part for part in re.split("M", path) if part.strip()]
        return [
            np.array([list(map(float, p.split())) for p in re.findall(r"[\d.-]+ [\d.-]+", stroke)])
            for stroke in strokes
        ]

    def draw(self, x, y, **options):
        curve = Curve("a", np.asarray(x, float), np.asarray(y, float), 0, **options)
        return chart([curve], title="t", x_label="step", y_label="loss")

    def test_places_are_linear_in_the_values(self):
        (line,) = self.places(self.draw([0, 1, 4], [3, 4, 7]))
        across, up = np.diff(line[:, 0]), np.diff(line[:, 1])
        assert across[1] == pytest.approx(3 * across[0], abs=0.2)
        assert up[1] == pytest.approx(3 * up[0], abs=0.2)
        assert up[0] < 0  # upward

    def test_and_in_their_logarithms_where_they_span_enough(self):
        drawn = self.draw([0, 1, 2], [1e-3, 1e-1, 10])
        (line,) = self.places(drawn)
        up = np.diff(line[:, 1])
        assert up[1] == pytest.approx(up[0], abs=0.2)
        ticks = [float(text) for text in re.findall(r'text-anchor="end">([^<]*)<', drawn)]
        assert 1e-3 <= min(ticks) < max(ticks) <= 20
        assert len(ticks) >= 3

    def test_what_is_not_finite_is_a_gap(self):
        strokes = self.places(self.draw([0, 1, 2, 3, 4], [1, 2, np.nan, np.inf, 2]))
        assert [len(stroke) for stroke in strokes] == [2, 1]
        assert "no finite value" in self.draw([0, 1], [np.nan, np.inf])
        assert "nan" not in self.draw([0, 1, 2], [1, np.nan, 2])

    def test_the_axis_of_x_is_as_wide_as_it_is_told(self):
        y = [1.0, 2.0]
        wide = chart(
            [Curve("a", np.array([5.0, 10.0]), np.array(y), 0)],
            title="t",
            x_label="step",
            y_label="loss",
            across=(0, 10),
        )
        (line,), (whole,) = self.places(wide), self.places(self.draw([0, 10], y))
        assert line[1, 0] == whole[1, 0]
        assert line[0, 0] == pytest.approx(whole[:, 0].mean(), abs=0.1)

    def test_the_legend_names_the_faint_line_too(self):
        x = np.arange(3.0)
        curves = [Curve("every step", x, x, 0, faint=True), Curve("training", x, x, 0)]
        drawn = chart(curves, title="t", x_label="step", y_label="loss")
        names = re.findall(r'<path class="(\w+) k0" d="M1 5H25"/></svg>([^<]*)<', drawn)
        assert names == [("faint", "every step"), ("line", "training")]

    def test_one_value_and_equal_values(self):
        for y in ([3.0], [3.0, 3.0], [0.0, 0.0]):
            (line,) = self.places(self.draw(range(len(y)), y))
            assert np.isfinite(line).all()
            assert (line >= 0).all()

    def test_no_peak_is_lost_of_many_points(self):
        y = np.zeros(50_000)
        y[31_234], y[7] = 5.0, -1.0
        drawn = self.draw(np.arange(50_000), y)
        (line,) = self.places(drawn)
        assert len(line) <= 600
        assert len(drawn) < 20_000
        levels = np.unique(line[:, 1])
        assert len(levels) == 3
        assert (line[:, 1] == levels[0]).sum() == (line[:, 1] == levels[2]).sum() == 1
