"""Damaged and lying files, made from whole ones: the same for the same seed, for ever.

What damages a file here is what disks, networks and people do (flipped bits, cut ends, pieces lost,
doubled or from another file) and what an attacker does (numbers in headers that are not true). What
checksums would catch at the door is made again afterwards, half of the time, so that the rest of a
reader is reached too.
"""

import gzip
import io
import random
import re
import struct
import zipfile
import zlib

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1)
WORDS = (
    b"0",
    b"-1",
    b"00",
    b"1e999",
    b"nan",
    b"777777777777",
    b"99999999999999999999",
    b"4294967295",
    b"\xff",
    b"\0",
    b'"',
    b"\n",
    b",",
    b"../",
    b"True",
    b"|O",
)
DIGITS = re.compile(rb"\d+")
HEAD = 64  # bytes, where headers are


def mutant(seeds: list[bytes], rng: random.Random) -> bytes:
    """One of the seeds with one to four things done to it."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not data:
            break
        # Half of the damage goes into the header, which is the small part of most files.
        at = rng.randrange(len(data) if rng.random() < 0.5 else min(HEAD, len(data)))
        kind = rng.randrange(10)
        if kind <= 2:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at] = rng.randrange(256)
        elif kind == 4:
            form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
            number = rng.choice(NUMBERS) & (2 ** (8 * struct.calcsize(form)) - 1)
            field = struct.pack(form, number)
            data[at : at + len(field)] = field
        elif kind == 5:
            del data[at:]
        elif kind == 6:
            del data[at : at + rng.choice((1, 2, 4, 16, 512))]
        elif kind == 7:
            data[at:at] = data[at : at + rng.choice((1, 2, 4, 16, 512))] * rng.choice((1, 2))
        elif kind == 8:
            other = rng.choice(seeds)
            data[at:] = other[min(at, rng.randrange(len(other) + 1)) :]
        else:
            runs = list(DIGITS.finditer(data, at, at + 200))
            span = rng.choice(runs).span() if runs else (at, at + rng.randrange(3))
            data[slice(*span)] = rng.choice(WORDS)
    return bytes(data)


def packed(data: bytes) -> bytes:
    """With gzip."""
    return gzip.compress(data, 1, mtime=0)


def zipped(data: bytes, compressed: bool) -> bytes:
    """As the second array of an .npz file."""
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        archive.writestr(zipfile.ZipInfo("b.npy"), data, kind)
    return out.getvalue()


def mended_tar(data: bytes) -> bytes:
    """With the checksum of every header made right."""
    out = bytearray(data)
    for at in range(0, len(out) - 511, 512):
        if out[at + 257 : at + 262] == b"ustar":
            total = sum(out[at : at + 512]) - sum(out[at + 148 : at + 156]) + 8 * 32
            out[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(out)


def mended_png(data: bytes) -> bytes:
    """With the checksum of every chunk made right, as far as the chunks can be followed."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)
