"""The report page in a real browser, on a phone and on a desk, light and dark, and under axe-core."""

import shutil
import subprocess
import time

import pytest
from browser import DESK, PHONE, browsing, needs_chromium
from pages import CONFIG, HOSTILE, every_section, fitted
from pictures import every_picture

from fnn.diagnostics import report

pytestmark = [pytest.mark.slow, needs_chromium]

FOLD = 'document.querySelectorAll("details").forEach(each => { each.open = OPEN; })'
VIOLATIONS = """axe.run().then(found => found.violations.map(
    each => [each.id, ...each.nodes.map(node => node.html.slice(0, 200) + node.failureSummary)]))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The page of a run that goes on, and of the same run when it has ended."""
    folder = tmp_path_factory.mktemp("run")
    with report.live(folder / "finished.html", config=CONFIG, title=HOSTILE, epochs=3) as page:
        for step in range(3, 19, 3):
            page(fitted(step, evaluated=1 / step if step % 6 == 0 else None))
        page.add(*every_section())
        page.write()
        shutil.copy(page.path, folder / "running.html")
    return folder


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The rules of axe-core, as a script."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on the PATH to install axe-core with")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, "axe-core@4"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if ran.returncode:
        pytest.skip(f"npm could not install axe-core: {ran.stderr.strip()[-200:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


SIZES = {"phone": PHONE, "desk": DESK}


@pytest.mark.parametrize("name", ["running", "finished"])
@pytest.mark.parametrize("size", SIZES)
def test_everything_is_drawn_and_nothing_is_asked_for(name, size, browser, files, tmp_path):
    path = files / f"{name}.html"
    browser.show(path, SIZES[size])
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.run("document.title") == f"{HOSTILE}: {name}"
    drawn = browser.run("[...document.images].map(each => each.naturalWidth)")
    assert len(drawn) == len(every_picture())
    assert min(drawn) > 0
    charts = browser.run(
        '[...document.querySelectorAll("svg.chart .line")].map(each => each.getTotalLength())'
    )
    assert len(charts) == 5  # loss and accuracy, training and validation, and the gradient's norm
    assert min(charts) > 50
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 200_000  # a blank page is a fiftieth of it


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opened", ["false", "true"])
def test_nothing_is_wider_than_the_window(size, opened, browser, files):
    browser.show(files / "running.html", SIZES[size])
    browser.run(FOLD.replace("OPEN", opened))
    wide, window = browser.run("[document.documentElement.scrollWidth, innerWidth]")
    assert window == SIZES[size][0]  # the browser has not zoomed out
    assert wide <= window
    # The pictures are seen whole, of a size to be read by zooming.
    assert browser.run("Math.min(...[...document.images].map(each => each.width))") >= 150
    boxes = "[...document.images].map(each => each.parentElement)"
    assert browser.run(f"{boxes}.filter(each => each.scrollWidth > each.clientWidth).length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["running", "finished"])
def test_axe_finds_no_violation(name, scheme, browser, files, axe):
    browser.show(files / f"{name}.html", PHONE, scheme)
    browser.run(FOLD.replace("OPEN", "true"))
    browser.run(f"{axe}; 0")
    assert browser.run(VIOLATIONS) == []


def test_axe_finds_what_is_wrong(browser, axe, tmp_path):
    (tmp_path / "bad.html").write_text('<html><body><img src="data:,"><p>a</p></body></html>')
    browser.show(tmp_path / "bad.html")
    browser.run(f"{axe}; 0")
    assert {"image-alt", "html-has-lang", "document-title"} <= {
        each[0] for each in browser.run(VIOLATIONS)
    }


def test_dark_is_dark(browser, files):
    ground = {}
    for scheme in ("light", "dark"):
        browser.show(files / "finished.html", DESK, scheme)
        ground[scheme] = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(251, 250, 248)", "dark": "rgb(21, 23, 26)"}


def test_it_shows_what_is_new_until_it_is_told_to_wait(browser, tmp_path):
    path = tmp_path / "live.html"
    page = report.live(path, title="a", every=2)
    page(fitted(3))
    browser.show(path)
    browser.run('document.querySelector("details").open = true')

    def shown(step):
        """Within two refreshes, whether the page tells of this step."""
        end = time.monotonic() + 6
        while time.monotonic() < end:
            time.sleep(0.25)
            said = browser.run(
                'document.querySelector(".status")?.textContent || ""'
            )  # it may load
            if f"step {step}," in said:
                return True
        return False

    page(fitted(6))
    page.write()
    assert shown(6)
    assert browser.run('document.querySelector("details").open')  # what was unfolded stays so
    browser.run('document.querySelector("#pause").click()')
    page(fitted(9))
    page.write()
    assert not shown(9)
    browser.run('document.querySelector("#pause").click()')
    assert shown(9)
    assert browser.complaints() == []
