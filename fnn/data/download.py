"""MNIST and Fashion-MNIST from their public homes, checked and never half-written.

A file is written under a temporary name beside its place, its size and SHA-256 are compared with
the published ones, and only then is it renamed (atomically) to its own name. Whatever happens on
the way, a file under its own name is the right and whole one.
"""

import hashlib
import http.client
import os
import secrets
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from fnn.data.mnist import TEST_FILES, TRAIN_FILES

TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16


class DownloadError(OSError):
    """A file could not be fetched from any of its homes, or not be trusted."""


class RemoteFile(NamedTuple):
    """A published file: what it is called, and how to know it."""

    name: str
    size: int  # bytes
    sha256: str  # lower-case hex


class Source(NamedTuple):
    """A published data set."""

    homes: tuple[str, ...]  # base addresses with a final slash, tried in order
    files: tuple[RemoteFile, ...]


SOURCES: Mapping[str, Source] = {
    "mnist": Source(
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        (
            RemoteFile(
                TRAIN_FILES[0],
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            RemoteFile(
                TRAIN_FILES[1],
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            RemoteFile(
                TEST_FILES[0],
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            RemoteFile(
                TEST_FILES[1],
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    "fashion-mnist": Source(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            RemoteFile(
                TRAIN_FILES[0],
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            RemoteFile(
                TRAIN_FILES[1],
                29515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            RemoteFile(
                TEST_FILES[0],
                4422102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            RemoteFile(
                TEST_FILES[1],
                5148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
}


def download(
    name: str,
    data_dir: str | os.PathLike[str],
    *,
    sources: Mapping[str, Source] = SOURCES,
    timeout: float = TIMEOUT,
) -> Path:
    """Put the files of the data set `name` into `data_dir`/`name`; those that are there stay.

    Args:
        name: a key of `sources`.
        data_dir: the folder that holds the folders of the data sets; made when missing.
        sources: where each data set is published.
        timeout: how many seconds a server may be silent.

    Returns:
        The folder with the files.

    Raises:
        DownloadError: no home could give the right file, or a file that is there already is not
            the published one. The message says which file, what failed at each home, and where to
            put the file by hand.
        ValueError: there is no such data set.
    """
    if name not in sources:
        raise ValueError(f"no data set {name!r} to download: expected one of {', '.join(sources)}")
    source, folder = sources[name], Path(data_dir) / name
    for file in source.files:
        if (folder / file.name).exists():
            _check_present(folder / file.name, file)
        else:
            fetch(file, source.homes, folder, timeout)
    return folder


def fetch(file: RemoteFile, homes: Sequence[str], folder: Path, timeout: float = TIMEOUT) -> Path:
    """One file from the first of its homes that gives it whole and right.

    Returns:
        Its path in `folder`.

    Raises:
        DownloadError: none does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    failures = []
    for home in homes:
        url = home + file.name
        part = folder / f".{file.name}.{secrets.token_hex(4)}.part"
        try:
            with part.open("xb") as out:
                _copy(url, out, file, timeout)
                out.flush()
                os.fsync(out.fileno())
            os.replace(part, target)
            return target
        except DownloadError as error:
            failures.append(f"  {url}: {error}")
        finally:
            part.unlink(missing_ok=True)
    raise DownloadError(
        f"could not download {file.name}:\n"
        + "\n".join(failures)
        + f"\nTo go on without a network, put the file at {target} by hand "
        f"({file.size} bytes, SHA-256 {file.sha256})"
    )


def _copy(url: str, out: IO[bytes], file: RemoteFile, timeout: float) -> None:
    """Write what `url` gives to `out`; raise DownloadError unless it is the published file."""
    digest, got = hashlib.sha256(), 0
    # Only the network's faults are caught here: a full disk is not a server's failure.
    try:
        response = _opener().open(url, timeout=timeout)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"no answer: {error}") from error
    with response:
        while True:
            try:
                piece = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise DownloadError(f"broken off after {got} bytes: {error}") from error
            if not piece:
                break
            got += len(piece)
            if got > file.size:
                raise DownloadError(f"expected {file.size} bytes, got more")
            digest.update(piece)
            out.write(piece)
    if got < file.size:
        raise DownloadError(f"truncated: expected {file.size} bytes, got {got}")
    if digest.hexdigest() != file.sha256:
        raise DownloadError(f"expected SHA-256 {file.sha256}, got {digest.hexdigest()}")


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS, with proxies and redirects, and no other scheme (the default knows file:)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _check_present(path: Path, file: RemoteFile) -> None:
    with path.open("rb") as stored:
        got = hashlib.file_digest(stored, "sha256").hexdigest()
    if got != file.sha256:
        raise DownloadError(
            f"{path} is there, but is not the published file: expected SHA-256 {file.sha256}, "
            f"got {got}; remove it to download it again"
        )
