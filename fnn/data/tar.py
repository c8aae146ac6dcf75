"""The files in a tar, one after the other, as bytes: nothing is extracted, and nothing is taken on trust.

A tar is blocks of 512 bytes: for each member a header (name, size in octal, type, checksum) and its
bytes, padded; at the end, blocks of zeros. Long names come in members of their own before it (POSIX
"pax", type x; GNU, type L). Python's `tarfile` reads such a member whole, whatever size it claims,
and keeps a kilobyte of every header; a stream of small images wants neither.

Format: POSIX.1-1988 (ustar) and POSIX.1-2001 (pax); GNU tar's manual for its long names.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fnn.data.bounded import PIECE, Opened

BLOCK = 512
MAX_NAME = 1024  # bytes
MAX_PAX = 1 << 16  # bytes
MAX_PADDING = 1 << 20  # bytes of zeros at the end
_ZEROS = bytes(BLOCK)
_NUMBERS = (slice(100, 108), slice(108, 116), slice(116, 124), slice(136, 148))
_DEVICE_NUMBERS = (slice(329, 337), slice(337, 345))
_BINARY = (0x80, 0xFF)  # the first byte of a number too large for octal digits
_FILE, _FOLDER = (b"0", b"\0"), b"5"
_PAX, _PAX_GLOBAL, _GNU_NAME = b"x", b"g", b"L"
_REFUSED = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device"}


class Member(NamedTuple):
    """A file in the tar."""

    name: str  # with forward slashes, and no `./` before it
    data: bytes


def members(
    file: Opened, *, max_members: int, max_member_bytes: int, max_bytes: int
) -> Iterator[Member]:
    """The regular files of a tar in their order; folders are passed over.

    Args:
        file: the unpacked tar.
        max_members: how many headers it may have.
        max_member_bytes: how long one file in it may be.
        max_bytes: how long it may be as a whole, unpacked.

    Raises:
        ValueError: it is no tar, is damaged or cut short, is over a bound, or has a member that is
            neither file nor folder, or one whose name is absolute, steps out with `..`, or is not
            UTF-8. The message names the member.
    """
    reader, count = _Reader(file, max_bytes), 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    while (header := reader.take(BLOCK)) != _ZEROS:
        count += 1
        if count > max_members:
            raise ValueError(f"{file.name}: expected at most {max_members} members, got more")
        _check(file.name, header)
        kind, size = header[156:157], _octal(file.name, header[124:136])
        if (kind == _PAX and pax) or (kind == _GNU_NAME and long_name):
            raise ValueError(
                f"{file.name}: expected a member after its long name, got another name"
            )
        if kind in (_PAX, _PAX_GLOBAL):
            records = _pax(file.name, reader.body(size, MAX_PAX, f"{file.name}: a pax header"))
            if kind == _PAX:
                pax = records
            elif records.keys() & {"path", "size"}:
                raise ValueError(f"{file.name}: expected path and size in no global pax header")
            continue
        if kind == _GNU_NAME:
            stored = reader.body(size, MAX_NAME + 1, f"{file.name}: a long name")
            long_name = _text(file.name, stored.removesuffix(b"\0"))
            continue
        name = _clean(file.name, long_name or pax.get("path") or _name(file.name, header))
        where = f"{file.name}: {name}"
        if "size" in pax:
            size = _decimal(file.name, pax["size"])
        long_name, pax = None, {}
        if kind == _FOLDER:
            if size:
                raise ValueError(f"{where}: expected a folder of size 0, got {size}")
        elif kind in _FILE and name:
            yield Member(name, reader.body(size, max_member_bytes, where))
        else:
            raise ValueError(
                f"{where}: expected a file or a folder, got "
                + _REFUSED.get(kind, f"a member of type {kind!r}" if name else "no name")
            )
    if long_name is not None or pax:
        raise ValueError(f"{file.name}: expected a member after its long name, got the end")
    padding = 0
    while piece := file.stream.read(PIECE):
        padding += len(piece)
        if piece.count(0) < len(piece) or padding > MAX_PADDING:
            raise ValueError(
                f"{file.name}: expected nothing but at most {MAX_PADDING} zeros after the last "
                "member, got more"
            )


class _Reader:
    """What comes from the tar, in whole blocks and within bounds."""

    def __init__(self, file: Opened, max_bytes: int):
        self.file, self.at, self.max_bytes = file, 0, max_bytes

    def take(self, size: int) -> bytes:
        """The next `size` bytes, all of them."""
        name = self.file.name
        if self.at + size > self.max_bytes:
            raise ValueError(f"{name}: expected at most {self.max_bytes} bytes unpacked, got more")
        if self.at + size > self.file.capacity:
            raise ValueError(
                f"{name}: truncated: expected {size} bytes at byte {self.at}, "
                f"got a file that can hold {self.file.capacity}"
            )
        taken = self.file.stream.read(min(size, PIECE))
        if len(taken) < size:
            pieces = bytearray(taken)
            while piece := self.file.stream.read(min(size - len(pieces), PIECE)):
                pieces += piece
            taken = bytes(pieces)
        if len(taken) < size:
            raise ValueError(
                f"{name}: truncated: expected {size} bytes at byte {self.at}, got {len(taken)}"
            )
        self.at += size
        return taken

    def body(self, size: int, most: int, what: str) -> bytes:
        """The bytes of a member, without what pads them to whole blocks."""
        if size > most:
            raise ValueError(f"{what}: expected at most {most} bytes, got a claim of {size}")
        data = self.take(size)
        self.take(-size % BLOCK)
        return data


def _check(where: str, header: bytes) -> None:
    """Compare the checksum: the sum of the header's bytes, with blanks in place of the sum."""
    said = _octal(where, header[148:156])
    got = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if said != got:
        raise ValueError(f"{where}: not a tar, or damaged: header checksum {said}, got {got}")
    # A checksum of 17 bits is weak: modes, owners and times that are none show damage as well.
    for field in _NUMBERS + _DEVICE_NUMBERS * header.startswith(b"ustar", 257):
        if header[field][0] not in _BINARY and header[field].strip(b" \0"):
            _octal(where, header[field])


def _octal(where: str, field: bytes) -> int:
    digits = field.lstrip(b" ").rstrip(b" \0")  # a NUL ends a number, and cannot come before it
    if not digits.isdigit() or max(digits) > ord("7"):
        raise ValueError(f"{where}: not a tar, or damaged: expected octal digits, got {field!r}")
    return int(digits, 8)


def _decimal(where: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError(f"{where}: expected decimal digits, got {text[:16]!r}")
    return int(text)


def _name(where: str, header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    # Only ustar has the prefix; GNU's old format ("ustar" and blanks) keeps times in its place.
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return _text(where, name)


def _text(where: str, name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: expected member names in UTF-8, got {name[:80]!r}") from error


def _clean(where: str, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not name.isprintable() or len(name) > MAX_NAME:
        raise ValueError(
            f"{where}: expected printable relative names of at most {MAX_NAME} characters "
            f"without '..', got {name[:80]!r}"
        )
    return "/".join(parts)


def _pax(where: str, data: bytes) -> dict[str, str]:
    """The records: length, blank, key=value, newline; the length counts the whole record."""
    records, at = {}, 0
    while at < len(data):
        digits, blank, _ = data[at : at + 8].partition(b" ")
        size = _decimal(where, digits.decode("ascii", "replace")) if blank else 0
        record = data[at : at + size]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or record[-1:] != b"\n" or len(record) < size:
            raise ValueError(f"{where}: expected pax records, got {data[at : at + 40]!r}")
        # Other keys (times, owners, foreign attributes) may hold any bytes and say nothing to us.
        if key.startswith(b"GNU.sparse"):
            raise ValueError(f"{where}: expected whole files, got a sparse one")
        if key in (b"path", b"size"):
            records[key.decode()] = _text(where, value)
        at += size
    return records
