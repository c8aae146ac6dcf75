"""JPEG and PNG images from a folder or a tar, one size and one kind, the class of each its folder."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data import cache as caches
from fnn.data.bounded import MAX_BYTES, Source, opened, read_bytes, unpacked
from fnn.data.decode import MAX_PIXELS, Mode, decode_image
from fnn.data.tar import Member, members

SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_IMAGES = 1 << 22
MAX_IMAGE_BYTES = 1 << 26  # of one image's file
MAX_DEPTH = 8  # of folders


class Images(NamedTuple):
    """N images of one size."""

    images: NDArray[np.uint8]  # (N, H, W, 3), or (N, H, W, 1) of mode "L"
    labels: NDArray[np.int32]  # (N,)
    classes: tuple[str, ...]  # classes[labels[n]] is the folder of image n
    names: tuple[str, ...]  # where each was found, relative to the folder or in the tar


def read_images(
    source: Source,
    *,
    mode: Mode = "RGB",
    size: tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    max_bytes: int = MAX_BYTES,
    max_images: int = MAX_IMAGES,
    max_pixels: int = MAX_PIXELS,
) -> Images:
    """All .jpg, .jpeg and .png images of a folder or of a tar (.tar, .tar.gz), decoded.

    The class of an image is the name of the folder it lies in. Those of a tar keep its order, those
    of a folder are sorted by name. Hidden files and folders (`.name`) are passed over; any other
    file is refused, and so are links.

    Args:
        source: a folder, or a tar as a path or an open binary file.
        mode: "RGB" (a grey image gives three equal channels) or "L" (the luma of a coloured one);
            see `decode_image`.
        size: the (height, width) that all must have; if not given, that of the first.
        classes: the names of the classes in the order of their labels; if not given, those that are
            found, sorted.
        cache: an .npz file for what is decoded. When it is there and was made from the same source
            with the same arguments, it is read instead; otherwise it is written, whole or not at
            all. It takes the place of no file that is something else.
        max_bytes: how much the tar may unpack to, and how much the decoded images may take.
        max_images: how many images there may be.
        max_pixels: height × width of one image, compared before it is decoded.

    Raises:
        ImportError: Pillow is not installed.
        FileNotFoundError: there is no such folder or file.
        ValueError: an image is damaged, cut short, too large, of another size than the first, or of
            a kind that has no one conversion (alpha, CMYK, 16 bits); there is none, or none in a
            folder of its own; a bound is exceeded; or the cache is some other file. The message
            names the image.
    """
    if mode not in ("RGB", "L"):
        raise ValueError(f"expected mode 'RGB' or 'L', got {mode!r}")
    if classes is not None and len({*classes}) < len(classes):
        raise ValueError(f"expected different classes, got {', '.join(classes)}")
    if cache is not None:
        key = caches.fingerprint(source, repr(("images 1", mode, size, classes and (*classes,))))
        # The names come on top of the images, a tar's at most two bytes a byte of it.
        kept = caches.read_cache(cache, key, max_bytes=2 * max_bytes)
        if kept is not None:
            return _from_arrays(cache, kept)
    name, files = _files(source, max_images, max_bytes)
    decoded, found = _decode(name, files, mode, size, max_bytes, max_images, max_pixels)
    labels, classes = _labels(name, found, classes)
    images = Images(decoded, labels, classes, tuple(found))
    if cache is not None:
        caches.write_cache(cache, key, _to_arrays(images))
    return images


def _to_arrays(images: Images) -> dict[str, NDArray[Any]]:
    words = {part: caches.packed_text(getattr(images, part)) for part in ("classes", "names")}
    return {"images": images.images, "labels": images.labels, **words}


def _from_arrays(cache: str | os.PathLike[str], kept: dict[str, NDArray[Any]]) -> Images:
    if kept.keys() != {*Images._fields}:
        raise ValueError(f"{cache}: expected a cache of images, got {', '.join(kept)}; remove it")
    classes, names = (caches.unpacked_text(kept[part]) for part in ("classes", "names"))
    return Images(kept["images"], kept["labels"], classes, names)


def _files(source: Source, max_images: int, max_bytes: int) -> tuple[str, Iterator[Member]]:
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        return str(source), _folder(Path(source), "")
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "the tar")
    return str(name), _tar(source, max_images, max_bytes)


def _tar(source: Source, max_images: int, max_bytes: int) -> Iterator[Member]:
    with opened(source) as file, unpacked(file) as content:
        yield from members(
            content,
            max_members=2 * max_images,  # pax headers and folders are members too
            max_member_bytes=MAX_IMAGE_BYTES,
            max_bytes=max_bytes,
        )


def _folder(root: Path, inner: str, depth: int = 0) -> Iterator[Member]:
    """The files below root/inner by their names, sorted; a file's bytes are read in its turn."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{root / inner}: expected at most {MAX_DEPTH} folders in each other")
    for entry in sorted(os.scandir(root / inner), key=lambda entry: entry.name):
        name = f"{inner}/{entry.name}".removeprefix("/")
        kind = entry.stat(follow_symlinks=False).st_mode
        if _hidden(name):
            continue
        if stat.S_ISDIR(kind):
            yield from _folder(root, name, depth + 1)
        elif stat.S_ISREG(kind):
            with opened(entry.path) as file:
                yield Member(name, read_bytes(file, MAX_IMAGE_BYTES))
        else:
            raise ValueError(f"{entry.path}: expected a file or a folder, got a link or a device")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _decode(
    source: str,
    files: Iterable[Member],
    mode: Mode,
    size: tuple[int, int] | None,
    max_bytes: int,
    max_images: int,
    max_pixels: int,
) -> tuple[NDArray[np.uint8], dict[str, None]]:
    """All images in one array, and their names, which are keys so that none comes twice."""
    pixels, names, shape = bytearray(), dict[str, None](), (0, 0, 0)
    for file in files:
        if _hidden(file.name):
            continue
        where = f"{source}: {file.name}"
        if not file.name.lower().endswith(SUFFIXES):
            raise ValueError(f"{where}: expected images only ({', '.join(SUFFIXES)})")
        if "/" not in file.name:
            raise ValueError(f"{where}: expected an image in a folder named after its class")
        if file.name in names:
            raise ValueError(f"{where}: expected images of different names, got this one twice")
        if len(names) == max_images:
            raise ValueError(f"{source}: expected at most {max_images} images (max_images)")
        image = decode_image(file.data, where, mode=mode, size=size, max_pixels=max_pixels)
        shape, size = image.shape, image.shape[:2]
        if len(pixels) + image.size > max_bytes:
            raise ValueError(f"{source}: expected at most {max_bytes} bytes of pixels (max_bytes)")
        pixels += image.data
        names[file.name] = None
    if not names:
        raise ValueError(f"{source}: expected images ({', '.join(SUFFIXES)}), got none")
    return np.frombuffer(pixels, np.uint8).reshape(-1, *shape), names


def _labels(
    source: str, names: Iterable[str], classes: Sequence[str] | None
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    folders = [name.split("/")[-2] for name in names]
    classes = sorted({*folders}) if classes is None else classes
    number = {name: n for n, name in enumerate(classes)}
    for name, folder in zip(names, folders, strict=True):
        if folder not in number:
            raise ValueError(
                f"{source}: {name}: expected a folder named {', '.join(classes)}, got {folder!r}"
            )
    return np.array([number[folder] for folder in folders], np.int32), tuple(classes)
