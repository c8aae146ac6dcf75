"""One image: Pillow's pixels for whole files of plain kinds, and a refusal for every other file."""

import io
import struct
import sys
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from fnn.data import decode_image


def encoded(pixels, kind="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, kind, **options)
    return out.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, colour, body, *extra):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [
        chunk(b"IHDR", head),
        *extra,
        chunk(b"IDAT", zlib.compress(body)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture
def colour(rng):
    return rng.integers(0, 256, (7, 5, 3)).astype(np.uint8)


@pytest.fixture
def grey(rng):
    return rng.integers(0, 256, (7, 5)).astype(np.uint8)


def test_a_png_comes_back_exactly(colour, grey):
    np.testing.assert_array_equal(decode_image(encoded(colour)), colour, strict=True)
    np.testing.assert_array_equal(
        decode_image(encoded(grey), mode="L"), grey[..., None], strict=True
    )
    got = decode_image(encoded(grey))
    np.testing.assert_array_equal(got, np.repeat(grey[..., None], 3, axis=2), strict=True)
    assert got.flags.writeable


def test_colour_becomes_grey_by_its_luma(colour):
    luma = colour @ np.array([0.299, 0.587, 0.114])
    got = decode_image(encoded(colour), mode="L")
    assert got.shape == (7, 5, 1)
    assert np.abs(got[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_few_bits_are_spread_over_the_range(depth):
    levels = np.arange(2**depth)[:8]
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    got = decode_image(png(len(levels), 1, depth, 0, b"\0" + row), mode="L")
    assert got[0, :, 0].tolist() == (levels * 255 // (2**depth - 1)).tolist()


def test_a_palette_becomes_its_colours():
    palette = bytes([255, 0, 0, 0, 0, 9])
    got = decode_image(png(2, 1, 8, 3, b"\0\1\0", chunk(b"PLTE", palette)))
    assert got.tolist() == [[[0, 0, 9], [255, 0, 0]]]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_a_jpeg_is_near_what_was_encoded_and_equal_to_pillows(options, rng):
    smooth = (np.add.outer(np.arange(16), np.arange(24))[..., None] * [3, 5, 6]).astype(np.uint8)
    data = encoded(smooth, "JPEG", **options)
    got = decode_image(data, size=(16, 24))
    assert np.abs(got.astype(int) - smooth).mean() < 8
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(got, np.asarray(image), strict=True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_cut_at_any_byte_is_refused(kind, colour):
    data = encoded(colour, kind)
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"^photo: "):
            decode_image(data[:length], "photo")


def test_every_flipped_bit_of_a_pngs_pixels_is_noticed(colour):
    data = encoded(colour)
    for bit in range(8 * 8, 8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"^photo: "):
            decode_image(bytes(flipped), "photo")


def test_what_pillow_would_make_up_of_a_cut_file_is_not_asked_for(colour, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ValueError, match="LOAD_TRUNCATED_IMAGES to be False"):
        decode_image(encoded(colour))


def cmyk():
    out = io.BytesIO()
    Image.new("CMYK", (2, 2)).save(out, "JPEG")
    return out.getvalue()


RGBA = np.zeros((2, 2, 4))
CASES = {
    "no image": (b"hello, I am a text", "expected a JPEG or PNG image, got b'hello, I'"),
    "empty": (b"", "expected a JPEG or PNG image"),
    "gif": (encoded(np.zeros((2, 2)), "GIF"), "expected a JPEG or PNG image, got b'GIF"),
    "alpha": (encoded(RGBA), "got PNG colour type 6 of 8 bits; convert it first"),
    "grey alpha": (png(1, 1, 8, 4, bytes(3)), "got PNG colour type 4"),
    "transparent": (png(1, 1, 8, 0, bytes(2), chunk(b"tRNS", bytes(2))), "got alpha"),
    "16 bits": (png(1, 1, 16, 0, bytes(3)), "got PNG colour type 0 of 16 bits"),
    "cmyk": (cmyk(), "got mode 'CMYK'; convert it first"),
    "larger": (png(5000, 5000, 8, 0, bytes(9)), "expected at most 16777216 pixels (max_pixels)"),
    "lying png": (
        png(2000, 2000, 8, 0, bytes(9)),
        "truncated: expected pixels for height and width",
    ),
    "no pixels": (png(0, 1, 8, 0, b""), "expected a whole PNG image"),
    "after the end": (encoded(RGBA[..., 0]) + b"x", "expected the end after"),
    "critical": (png(1, 1, 8, 0, bytes(2), chunk(b"ABCD", b"")), "expected the chunks of a PNG"),
    "second header": (png(1, 1, 8, 0, bytes(2), chunk(b"IHDR", bytes(13))), "got b'IHDR'"),
    "short header": (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(12)) + chunk(b"IEND", b""),
        "expected 13 bytes of PNG header, got 12",
    ),
    "many scans": (b"\xff\xd8\xff" + b"\xff\xda\0\2" * 101, "expected at most 100 scans"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_plain_image_is_refused(case):
    data, words = CASES[case]
    with pytest.raises(ValueError, match=r"^photo: ") as caught:
        decode_image(data, "photo")
    assert words in str(caught.value)


def test_another_size_is_refused_by_the_header(colour):
    with pytest.raises(ValueError, match=r"height and width \(5, 7\), got \(7, 5\)"):
        decode_image(encoded(colour), size=(5, 7))
    with pytest.raises(ValueError, match="expected at most 34 pixels"):
        decode_image(encoded(colour), max_pixels=34)
    assert decode_image(encoded(colour), max_pixels=35).shape == (7, 5, 3)


def test_a_jpeg_that_claims_more_than_its_bytes_can_code_is_not_decoded(colour):
    data = bytearray(encoded(colour, "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 4000, 4000)
    with pytest.raises(ValueError, match="truncated: expected pixels"):
        decode_image(bytes(data))


def test_the_flattest_jpeg_is_not_taken_for_a_false_claim():
    """One colour: 32 bits for every 16 × 16 pixels, and fewer with tables of its own."""
    for options in ({}, {"optimize": True}, {"progressive": True, "optimize": True}):
        for pixels in (np.full((1024, 1024, 3), 77), np.full((1024, 1024), 77)):
            data = encoded(pixels, "JPEG", **options)
            assert decode_image(data).shape == (1024, 1024, 3)


@pytest.mark.parametrize("limit", [10, 30])
def test_pillows_own_limits_end_in_the_same_refusal(limit, colour, monkeypatch):
    """Over its limit Pillow warns, over twice that it raises; a warning may be an error."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"expected a whole PNG image, got: Image size"):
            decode_image(encoded(colour))


def test_text_that_unpacks_to_megabytes_is_never_unpacked(colour):
    info = PngImagePlugin.PngInfo()
    for n in range(20):
        info.add_text(f"bomb {n}", "A" * 2**20, zip=True)
    data = encoded(colour, pnginfo=info)
    assert len(data) < 2**16
    decode_image(data)
    tracemalloc.start()
    np.testing.assert_array_equal(decode_image(data), colour)
    assert tracemalloc.get_traced_memory()[1] < 2**19
    tracemalloc.stop()


def test_without_pillow_the_message_says_how_to_get_it(colour, monkeypatch):
    data = encoded(colour)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'pip install "fnn\[data\]"'):
        decode_image(data)
