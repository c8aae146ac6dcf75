"""Downloads from a server on this machine that is right, wrong, cut short, silent or gone."""

import errno
import hashlib
import http.server
import os
import threading

import pytest

from fnn.data import DownloadError
from fnn.data.download import SOURCES, RemoteFile, Source, download, fetch

BODY = bytes(range(256)) * 700  # more than two chunks
FILE = RemoteFile("numbers.gz", len(BODY), hashlib.sha256(BODY).hexdigest())


class Handler(http.server.BaseHTTPRequestHandler):
    """Each first folder of a path is a way to answer."""

    def do_GET(self):
        self.server.asked.append(self.path)
        way = self.path.split("/")[1]
        if way == "gone":
            self.send_error(404)
            return
        if way == "moved":
            self.send_response(302)
            self.send_header("Location", "/right/" + FILE.name)
            self.end_headers()
            return
        if way == "silent":
            self.server.closing.wait(10)
            return
        body = {"wrong": BODY[:-1] + b"\0", "longer": BODY + b"more", "short": BODY[:-9]}
        self.send_response(200)
        if way != "endless":
            declared = len(BODY) if way == "cut" else len(body.get(way, BODY))
            self.send_header("Content-Length", str(declared))
        self.end_headers()
        if way == "endless":
            try:
                while not self.server.closing.is_set():
                    self.wfile.write(BODY)
            except OSError:
                return  # the client hung up, as it should
        self.wfile.write(BODY[:100_000] if way == "cut" else body.get(way, BODY))

    def log_message(self, *args):
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that hangs up early is part of the test."""


@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked, server.closing = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def home(server, monkeypatch):
    """`home(way)`: the address of the folder that answers in this way."""
    monkeypatch.setenv("no_proxy", "*")
    server.asked.clear()
    return lambda way: f"http://127.0.0.1:{server.server_port}/{way}/"


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("way", ["right", "moved"])
def test_the_right_file_arrives_whole_under_its_name(way, home, tmp_path):
    folder = tmp_path / "new" / "folder"
    path = fetch(FILE, [home(way)], folder, timeout=5)
    assert path == folder / "numbers.gz"
    assert path.read_bytes() == BODY
    assert contents(folder) == ["numbers.gz"]
    (tmp_path / "plain").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # readable as any other


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("gone", "no answer: HTTP Error 404: Not Found"),
        (
            "wrong",
            f"expected SHA-256 {FILE.sha256}, got {hashlib.sha256(BODY[:-1] + bytes(1)).hexdigest()}",
        ),
        ("cut", f"expected {len(BODY)} bytes, got 100000"),
        ("short", f"truncated: expected {len(BODY)} bytes, got {len(BODY) - 9}"),
        ("longer", f"expected {len(BODY)} bytes, got more"),
        ("endless", f"expected {len(BODY)} bytes, got more"),
        ("silent", "no answer: timed out"),
    ],
)
def test_each_failure_is_told_and_leaves_nothing(way, words, home, tmp_path):
    with pytest.raises(DownloadError, match=r"could not download numbers\.gz") as caught:
        fetch(FILE, [home(way)], tmp_path, timeout=0.5)
    message = str(caught.value)
    assert words in message
    assert home(way) + "numbers.gz" in message
    assert f"put the file at {tmp_path / 'numbers.gz'} by hand" in message
    assert f"{len(BODY)} bytes, SHA-256 {FILE.sha256}" in message
    assert contents(tmp_path) == []


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    homes = ["http://127.0.0.1:9/", "http://no-such-host.invalid/"]
    with pytest.raises(DownloadError, match="no answer") as caught:
        fetch(FILE, homes, tmp_path, timeout=2)
    assert all(home in str(caught.value) for home in homes)
    assert contents(tmp_path) == []


def test_only_the_web_is_asked(tmp_path):
    secret = tmp_path / FILE.name
    secret.write_bytes(BODY)
    with pytest.raises(DownloadError, match="unknown url type: file"):
        fetch(FILE, [f"file://{tmp_path}/"], tmp_path / "out", timeout=2)


def test_the_next_home_is_asked_when_one_fails(home, tmp_path):
    homes = [home("gone"), home("wrong"), home("right"), home("gone")]
    assert fetch(FILE, homes, tmp_path, timeout=5).read_bytes() == BODY
    assert contents(tmp_path) == ["numbers.gz"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
def test_an_interruption_or_a_full_disk_leaves_nothing_and_is_not_hidden(
    call, fault, home, tmp_path, monkeypatch
):
    def fail(*args):
        raise fault

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(fault)) as caught:
        fetch(FILE, [home("right"), home("right")], tmp_path, timeout=5)
    assert caught.value is fault
    assert contents(tmp_path) == []


def test_nothing_is_under_the_name_before_all_is_written(home, tmp_path, monkeypatch):
    seen = []
    replace = os.replace

    def spy(source, target):
        seen.append((contents(tmp_path), source.read_bytes() == BODY, source.parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    fetch(FILE, [home("right")], tmp_path, timeout=5)
    [(names, whole, parent)] = seen
    assert whole
    assert parent == tmp_path  # a rename is atomic only within one file system
    assert len(names) == 1
    assert names[0] != "numbers.gz"


def two_files(home):
    second = FILE._replace(name="letters.gz")
    return {"made": Source((home("right"),), (FILE, second))}


def test_a_data_set_is_all_its_files_and_those_that_are_there_stay(home, server, tmp_path):
    sources = two_files(home)
    folder = download("made", tmp_path, sources=sources, timeout=5)
    assert folder == tmp_path / "made"
    assert contents(folder) == ["letters.gz", "numbers.gz"]
    (folder / "letters.gz").unlink()
    server.asked.clear()
    download("made", str(tmp_path), sources=sources, timeout=5)
    assert server.asked == ["/right/letters.gz"]
    assert contents(folder) == ["letters.gz", "numbers.gz"]


def test_a_file_that_is_there_and_wrong_is_named_and_not_overwritten(home, tmp_path):
    (tmp_path / "made").mkdir()
    mine = tmp_path / "made" / "numbers.gz"
    mine.write_bytes(b"something else")
    with pytest.raises(
        DownloadError, match=r"is there, but is not the published.*remove it"
    ) as got:
        download("made", tmp_path, sources=two_files(home), timeout=5)
    assert str(mine) in str(got.value)
    assert mine.read_bytes() == b"something else"


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'cifar' to download: expected one of mnist, fashion-mn"):
        download("cifar", tmp_path)


@pytest.mark.parametrize("name", SOURCES)
def test_the_published_sizes_and_checksums_are_those_of_the_real_files(name, real_data):
    assert download(name, real_data) == real_data / name
    assert len(SOURCES[name].files) == 4
    for file in SOURCES[name].files:
        assert (real_data / name / file.name).stat().st_size == file.size
