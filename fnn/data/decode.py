"""One JPEG or PNG image as an array: decoded by Pillow, within bounds and without quiet changes.

How many pixels a header may claim is compared with the file's length before anything is decoded.
What Pillow would change or leave out without a word (alpha, CMYK, 16 bits, the missing end of a cut
file) is refused, and a PNG's text chunks, which can unpack to megabytes, never reach it.
"""

import io
import struct
import zlib
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fnn.data.bounded import DEFLATE_MAX_RATIO
from fnn.extras import require

Mode = Literal["RGB", "L"]
MAX_PIXELS = 1 << 24

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1}  # of a pixel, by the colour type: grey, RGB, palette
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xff\xda"
# Huffman coding takes at least a bit for each block of 8 × 8 pixels.
_JPEG_PIXELS_PER_BYTE = 8 * 64
# Encoders write about ten; each passes over all pixels, however short it is.
_JPEG_MAX_SCANS = 100
# Pillow has no one type for a damaged file: it passes on whatever its parsers stumble over. Its
# warnings (of a malformed MPO, say) are exceptions where the caller's filters make them so.
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    struct.error,
    Warning,
)


def decode_image(
    data: bytes,
    name: str = "image",
    *,
    mode: Mode = "RGB",
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """The pixels of a JPEG or PNG file of 8 bits a channel, as they are stored (no EXIF rotation).

    While it works, Pillow holds 4 bytes a pixel, for progressive JPEG 10; and a JPEG file can claim
    at most 512 pixels a byte, a PNG file what DEFLATE can unpack to.

    Args:
        data: the whole file.
        name: what messages call it.
        mode: "RGB" (grey gives three equal channels) or "L" (grey: 0.299 R + 0.587 G + 0.114 B,
            ITU-R BT.601, of colour).
        size: the (height, width) it must have; if not given, any.
        max_pixels: the largest height × width that is accepted.

    Returns:
        uint8 (height, width, 3), or (height, width, 1) of mode "L".

    Raises:
        ImportError: Pillow is not installed.
        ValueError: the file is neither, damaged or cut short, or claims too many pixels or more
            than it can hold; or has alpha, CMYK, 16 bits or another size.
    """
    pillow: ModuleType = require("PIL.Image", "data")
    if require("PIL.ImageFile", "data").LOAD_TRUNCATED_IMAGES:
        raise ValueError(
            f"{name}: expected PIL.ImageFile.LOAD_TRUNCATED_IMAGES to be False, got True: with it, "
            "what is missing of a cut file is made up"
        )
    if data.startswith(_JPEG_SIGNATURE):
        kind = "JPEG"
        if data.count(_JPEG_SCAN) > _JPEG_MAX_SCANS:
            raise ValueError(f"{name}: expected at most {_JPEG_MAX_SCANS} scans, got more")
        fillable = len(data) * _JPEG_PIXELS_PER_BYTE
    elif data.startswith(_PNG_SIGNATURE):
        kind = "PNG"
        data, fillable = _critical_chunks(data, name)
    else:
        raise ValueError(f"{name}: expected a JPEG or PNG image, got {data[:8]!r} at its start")
    faults: tuple[Any, ...] = (*_FAULTS, pillow.DecompressionBombError)
    try:
        image = pillow.open(io.BytesIO(data), formats=(kind,))
    except faults as error:
        raise _damaged(name, kind, error) from error
    with image:
        _check(image, name, size, max_pixels, fillable)
        try:
            image.load()
        except faults as error:
            raise _damaged(name, kind, error) from error
        pixels = np.array(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _check(
    image: Any, name: str, size: tuple[int, int] | None, max_pixels: int, fillable: int
) -> None:
    """Refuse by the header alone what is too large, of another size, or of a kind not converted."""
    width, height = image.size
    if size is not None and (height, width) != tuple(size):
        raise ValueError(
            f"{name}: expected an image of height and width {tuple(size)}, got {(height, width)}"
        )
    if height * width > max_pixels:
        raise ValueError(
            f"{name}: expected at most {max_pixels} pixels (max_pixels), "
            f"got height and width {(height, width)}"
        )
    if height * width > fillable:
        raise ValueError(
            f"{name}: truncated: expected pixels for height and width {(height, width)}, "
            f"got a file that can hold {fillable}"
        )
    if image.mode not in ("1", "L", "P", "RGB"):
        raise ValueError(
            f"{name}: expected a grey or RGB image of 8 bits a channel, got mode {image.mode!r}; "
            "convert it first"
        )


def _critical_chunks(data: bytes, name: str) -> tuple[bytes, int]:
    """The PNG without its ancillary chunks, and how many pixels it can hold.

    Pillow compares no checksum of the pixels' own chunks; here all of the critical ones are.
    """
    kept, packed, at = [_PNG_SIGNATURE], 0, len(_PNG_SIGNATURE)
    while not kept[-1].endswith(b"IEND\xaeB`\x82"):
        if at + 12 > len(data):
            raise ValueError(f"{name}: truncated: expected a PNG's chunk IEND, got the end")
        length, chunk = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ValueError(f"{name}: truncated: expected {length} bytes of the chunk {chunk!r}")
        if chunk == b"tRNS":
            raise ValueError(f"{name}: expected a grey or RGB image, got alpha; convert it first")
        if not chunk[0] & 0x20:  # a capital letter: critical
            if chunk not in _PNG_CHUNKS or (len(kept) == 1) != (chunk == b"IHDR"):
                raise ValueError(f"{name}: expected the chunks of a PNG, got {chunk!r}")
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ValueError(f"{name}: damaged: wrong checksum of the chunk {chunk!r}")
            kept.append(data[at:end])
            packed += length if chunk == b"IDAT" else 0
        at = end
    if at != len(data):
        raise ValueError(f"{name}: expected the end after a PNG's chunk IEND, got more")
    header = kept[1][8:-4]
    if len(header) != 13:
        raise ValueError(f"{name}: expected 13 bytes of PNG header, got {len(header)}")
    depth, colour = header[8:10]
    if colour not in _PNG_SAMPLES or depth > 8:
        raise ValueError(
            f"{name}: expected a grey, RGB or palette image of at most 8 bits a channel, "
            f"got PNG colour type {colour} of {depth} bits; convert it first"
        )
    bits = max(depth, 1) * _PNG_SAMPLES[colour]
    return b"".join(kept), packed * DEFLATE_MAX_RATIO * 8 // bits


def _damaged(name: str, kind: str, error: Exception) -> ValueError:
    return ValueError(f"{name}: expected a whole {kind} image, got: {error}")
