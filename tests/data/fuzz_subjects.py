"""Every reader of files with whole files to damage, and what is right for a damaged one.

What a reader gives for a file is compared with another program's reading of the same bytes: the
format's definition in a few lines, or a library that is not ours.
"""

import atexit
import csv
import gzip
import io
import random
import shutil
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutants import mended_png, mended_tar, mutant, packed, zipped
from PIL import Image

from fnn import data as readers

REFUSED = "refused"  # what an oracle says of a file that must not be read
UNKNOWN = "unknown"  # what it says where only the reader's answer can be judged
NAME = "fuzzed"


class File(io.BytesIO):
    """Bytes with a name, which a refusal must tell."""

    name = NAME


class Subject(NamedTuple):
    """A reader under test."""

    seeds: list[bytes]  # whole files, small
    read: Callable[[bytes], Any]
    # The right answer, or REFUSED; given the reader's own answer (None: it refused), or UNKNOWN.
    oracle: Callable[[bytes, Any], Any]
    damaged: Callable[[list[bytes], random.Random], bytes] = mutant


rng = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape).astype(np.uint8)


def encoded(kind: str, shape: tuple[int, ...], **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(*shape)).save(out, kind, **options)
    return out.getvalue()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_oracle(data: bytes, _: Any) -> Any:
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 4:
        return REFUSED
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    body, size = data[4 + 4 * data[3] :], 1
    for n in shape:
        size *= n
    if size == 0 or len(body) != size:
        return REFUSED
    return np.array(list(body), np.uint8).reshape(shape)


def unpacked_oracle(data: bytes, answer: Any) -> Any:
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (gzip.BadGzipFile, zlib.error, EOFError):
            return REFUSED
    return idx_oracle(data, answer)


def cifar_oracle(data: bytes, _: Any) -> Any:
    count, rest = divmod(len(data), 3073)
    labels = [data[3073 * n] for n in range(count)]
    if rest or not count or max(labels) > 9:
        return REFUSED
    images = np.empty((count, 32, 32, 3), np.uint8)
    for n in range(count):
        for c in range(3):
            start = 3073 * n + 1 + 1024 * c
            images[n, :, :, c].flat = np.frombuffer(data, np.uint8, 1024, start)
    return images, np.array(labels, np.uint8)[:, None]


def text_oracle(data: bytes, _: Any) -> Any:
    try:
        return str(data, "utf-8") or REFUSED
    except UnicodeDecodeError:
        return REFUSED


def table_oracle(data: bytes, answer: Any) -> Any:
    if answer is None:
        return UNKNOWN
    head, *lines = data.decode("utf-8-sig").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    head, *rows = [next(csv.reader([line.removesuffix("\r")])) for line in (head, *lines)]
    names = [row[-1].strip() for row in rows]
    x = np.array([[float(cell) for cell in row[:-1]] for row in rows], np.float32)
    columns = tuple(name.strip() for name in head[:-1])
    whole = all(name.isdecimal() for name in names)
    classes = sorted({*names}, key=lambda name: (int(name) if whole else 0, name))
    return x, np.array([classes.index(name) for name in names], np.int32), columns, tuple(classes)


def npy_oracle(data: bytes, answer: Any) -> Any:
    return UNKNOWN if answer is None else native(np.load(io.BytesIO(data), allow_pickle=False))


def npz_oracle(data: bytes, answer: Any) -> Any:
    if answer is None:
        return UNKNOWN
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: native(arrays[name]) for name in arrays.files}


def native(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="))


def image_oracle(data: bytes, answer: Any) -> Any:
    if answer is None:
        return UNKNOWN
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def tar_oracle(data: bytes, answer: Any) -> Any:
    if answer is None:
        return UNKNOWN
    mode = "r:gz" if data[:2] == b"\x1f\x8b" else "r:"
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode) as tar:
        found = [
            (file.name, tar.extractfile(file).read())
            for file in tar
            if file.isfile() and not any(part.startswith(".") for part in clean(file.name))
        ]
    names = tuple("/".join(clean(name)) for name, _ in found)
    folders = [name.split("/")[-2] for name in names]
    images = np.stack([image_oracle(content, True) for _, content in found])
    return images, folders, names


def clean(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def tar(form: int, *names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for n, name in enumerate(names):
            content = IMAGES[n % 2]
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name.endswith("/"):
                member.type, member.size = tarfile.DIRTYPE, 0
            archive.addfile(member, io.BytesIO(content))
    # Ten kilobytes of zeros pad it; two blocks of them are enough.
    whole = out.getvalue().rstrip(b"\0")
    return whole + bytes(-len(whole) % 512 + 1024)


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def saved_together(compressed: bool) -> bytes:
    out = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(out, a=pixels(3, 4), b=np.arange(6.0).reshape(2, 3))
    return out.getvalue()


def half(
    whole: Callable[[list[bytes], random.Random], bytes],
    inner: Callable[[bytes], bytes],
    seeds: list[bytes] | None = None,
) -> Callable[[list[bytes], random.Random], bytes]:
    """`whole`, or half of the time `inner` of a mutant of `seeds` (of the subject's, if not given)."""

    def damaged(own: list[bytes], draw: random.Random) -> bytes:
        if draw.random() < 0.5:
            return whole(own, draw)
        return inner(mutant(seeds or own, draw))

    return damaged


def in_folder(data: bytes) -> Any:
    """A folder with one damaged image."""
    with (FOLDER / "b" / "2.jpg").open("r+b") as file:
        file.write(data)  # over the one before: to empty it first makes some file systems sync it
        file.truncate(len(data))
    found = readers.read_images(FOLDER)
    assert found.names == ("b/2.jpg",)
    return found.images[0]


def tar_answer(data: bytes) -> Any:
    found = readers.read_images(File(data))
    return found.images, [found.classes[n] for n in found.labels], found.names


IMAGES = [encoded("JPEG", (8, 8, 3)), encoded("PNG", (8, 8, 3))]
JPEGS = [
    IMAGES[0],
    encoded("JPEG", (8, 8, 3), progressive=True),
    encoded("JPEG", (8, 8)),
    encoded("JPEG", (16, 16, 3), quality=20),
]
PNGS = [IMAGES[1], encoded("PNG", (9, 5)), encoded("PNG", (8, 8, 3), optimize=True)]
ARRAYS = [
    saved(pixels(2, 3, 4)),
    saved(np.arange(6.0).reshape(2, 3)),
    saved(np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))),
    saved(np.array([True, False])),
]
IDX = [idx(pixels(2, 3, 4)), idx(pixels(40))]
TARS = [
    tar(tarfile.USTAR_FORMAT, "train/a/1.jpg", "train/b/2.png"),
    tar(tarfile.PAX_FORMAT, "a/", "a/" + "n" * 110 + ".png"),
    tar(tarfile.GNU_FORMAT, "./" + "g" * 110 + "/1.jpg", "b/.hidden"),
]
TEXTS = [b"First Citizen:\nBefore we proceed", "é한글 𝄞 ascii\n".encode()]
TABLES = [
    b"width,height,kind\n1,2.5,a\n-3e2, 4 ,b\n5,6,a\n",
    b'a,b,"c"\r\n1,2,x\r\n"3",4,y',
    b"a,b,c\n" + b"".join(b"%d,%d,%d\n" % (n, n * n, n % 3) for n in range(20)),
]
FOLDER = Path(tempfile.mkdtemp(prefix="fuzzed-"))
atexit.register(shutil.rmtree, FOLDER)
(FOLDER / "b").mkdir()
(FOLDER / "b" / "2.jpg").write_bytes(IMAGES[0])

SUBJECTS = {
    "idx": Subject(IDX, lambda data: readers.read_idx(File(data)), idx_oracle),
    "idx, packed": Subject(
        [packed(data) for data in IDX],
        lambda data: readers.read_idx(File(data)),
        unpacked_oracle,
        half(mutant, packed, IDX),
    ),
    "cifar": Subject(
        [b"".join(bytes([n]) + pixels(3072).tobytes() for n in range(k)) for k in (1, 3)],
        lambda data: tuple(readers.read_cifar(File(data))),
        cifar_oracle,
    ),
    "jpeg": Subject(JPEGS, lambda data: readers.decode_image(data, NAME), image_oracle),
    "png": Subject(
        PNGS,
        lambda data: readers.decode_image(data, NAME),
        image_oracle,
        half(mutant, mended_png),
    ),
    "tar": Subject(TARS, tar_answer, tar_oracle, half(mutant, mended_tar)),
    "tar, packed": Subject(
        [packed(data) for data in TARS],
        tar_answer,
        tar_oracle,
        half(mutant, lambda data: packed(mended_tar(data)), TARS),
    ),
    "folder": Subject(JPEGS[:1] + PNGS[:1], in_folder, image_oracle, half(mutant, mended_png)),
    "text": Subject(TEXTS, lambda data: readers.read_text(File(data)), text_oracle),
    "csv": Subject(
        TABLES,
        lambda data: readers.read_csv(File(data), header=True, label=-1),
        table_oracle,
    ),
    "npy": Subject(ARRAYS, lambda data: readers.read_npy(File(data)), npy_oracle),
    "npz": Subject(
        [saved_together(False), saved_together(True)],
        lambda data: readers.read_npz(File(data)),
        npz_oracle,
        half(mutant, lambda data: zipped(data, len(data) % 2 == 0), ARRAYS),
    ),
}
