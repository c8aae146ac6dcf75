"""The tar reader against `tarfile`: the same members of whole tars, and no member of damaged ones."""

import gzip
import io
import subprocess
import tarfile
import tracemalloc

import pytest

from fnn.data.bounded import opened, unpacked
from fnn.data.tar import members

LIMITS = {"max_members": 100, "max_member_bytes": 10_000, "max_bytes": 2**20}


def written(*files, form=tarfile.USTAR_FORMAT, **fields):
    """A tar of (name, data) pairs, by `tarfile`; the fields are set on every member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def read(data, **limits):
    with opened(io.BytesIO(data)) as file, unpacked(file) as content:
        return [tuple(member) for member in members(content, **(LIMITS | limits))]


FILES = [("a/1.jpg", b"one"), ("a/2.jpg", bytes(512)), ("b/3.jpg", b""), ("c", b"\xff" * 513)]
LONG = [("d" * 60 + "/" + "e" * 90 + ".png", b"long"), ("f" * 300, b"longer"), ("é/한", b"wide")]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes_is_read_in_its_order(form):
    files = FILES + (LONG if form != tarfile.USTAR_FORMAT else LONG[:1])
    assert read(written(*files, form=form)) == files
    assert read(written(*files[::-1], form=form)) == files[::-1]


def test_fields_that_say_nothing_of_the_content_do_not_disturb():
    """Times with fractions make tarfile write a pax header before every member."""
    data = written(*FILES, form=tarfile.PAX_FORMAT, mtime=1.5, uname="한", pax_headers={"k": "v"})
    assert read(data) == FILES
    assert read(written(*FILES, form=tarfile.GNU_FORMAT, uid=2**40, mtime=-5)) == FILES
    assert read(written(("./a/./b", b"x"), ("c//d", b"y"))) == [("a/b", b"x"), ("c/d", b"y")]


def test_the_system_tars_archives(tmp_path):
    for name, data in FILES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for form in ("ustar", "gnu", "posix"):
        command = ["tar", f"--format={form}", "-czf", "out.tar.gz", "-C", "in", "."]
        try:
            subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            pytest.skip("no tar command that knows these formats")
        assert sorted(read((tmp_path / "out.tar.gz").read_bytes())) == FILES


def test_folders_are_passed_over():
    assert read(written(("a/", b""), type=tarfile.DIRTYPE)) == []
    with pytest.raises(ValueError, match="a: expected a folder of size 0, got 3"):
        read(header_with(written(("a", b"one")), 156, b"5"))


def header_with(data, at, field):
    """The tar with a field of its first header changed, and its checksum made right."""
    head = bytearray(data[:512])
    head[at : at + len(field)] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data[512:]


WHOLE = written(("a", b"one"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated: expected 512 bytes at byte 0"),
        (b"no tar".ljust(1024, b"!"), "not a tar, or damaged: expected octal digits"),
        (WHOLE[:600], "truncated: expected 509 bytes at byte 515"),
        (WHOLE[:1024], "truncated: expected 512 bytes at byte 1024"),
        (WHOLE + b"x", "expected nothing but at most 1048576 zeros after the last member"),
        (WHOLE + bytes(2**20), "expected nothing but at most"),
        (b"b" + WHOLE[1:], "header checksum"),
        (
            header_with(WHOLE, 124, b"77777777777"),
            "a: expected at most 10000 bytes, got a claim of",
        ),
        (header_with(WHOLE, 124, b"\x80" + bytes(10) + b"\3"), "expected octal digits"),
        (header_with(WHOLE, 124, b"\0" * 12), "expected octal digits"),
        (header_with(WHOLE, 136, b"yesterday"), "expected octal digits, got b'yesterday"),
        (header_with(WHOLE, 0, b"/etc"), "expected printable relative names"),
        (header_with(WHOLE, 0, b"a/../b"), "without '..', got 'a/../b'"),
        (header_with(WHOLE, 0, b"a\nb"), "expected printable relative names"),
        (header_with(WHOLE, 0, b"\xff"), "expected member names in UTF-8"),
        (header_with(WHOLE, 0, b"\0"), "expected a file or a folder, got no name"),
        (header_with(WHOLE, 156, b"1"), "a: expected a file or a folder, got a hard link"),
        (header_with(WHOLE, 156, b"2"), "got a symbolic link"),
        (header_with(WHOLE, 156, b"3"), "got a device"),
        (header_with(WHOLE, 156, b"4"), "got a device"),
        (header_with(WHOLE, 156, b"6"), "got a member of type b'6'"),
        (header_with(WHOLE, 156, b"S"), "got a member of type b'S'"),
        (header_with(WHOLE, 156, b"x"), "expected pax records, got b'one'"),
        (header_with(WHOLE, 156, b"L"), "expected a member after its long name, got the end"),
        (header_with(written(("a", b"8 path=")), 156, b"x"), "expected pax records"),
        (header_with(written(("a", b"9 path=b\n")), 156, b"g"), "path and size in no global pax"),
        (header_with(written(("a", b"22 GNU.sparse.major=1\n")), 156, b"x"), "got a sparse one"),
    ],
)
def test_what_is_no_plain_tar_is_refused(data, words):
    with pytest.raises(ValueError, match=r"^BytesIO: ") as caught:
        read(data)
    assert words in str(caught.value)


def test_a_size_in_a_pax_header_is_no_more_believed():
    pax = header_with(written(("a", b"14 size=99999\n"))[:1024], 156, b"x")
    with pytest.raises(ValueError, match="a: expected at most 10000 bytes, got a claim of 99999"):
        read(pax + WHOLE)
    pax = header_with(written(("a", b"10 size=x\n"))[:1024], 156, b"x")
    with pytest.raises(ValueError, match="expected decimal digits, got 'x'"):
        read(pax + WHOLE)
    with pytest.raises(ValueError, match="a pax header: expected at most 65536 bytes"):
        read(header_with(header_with(WHOLE, 124, b"00000300000"), 156, b"x"))


def test_two_long_names_for_one_member_are_refused():
    name = header_with(WHOLE[:1024], 156, b"L")
    assert read(name + WHOLE) == [("one", b"one")]
    with pytest.raises(ValueError, match="got another name"):
        read(name + name + WHOLE)


def test_bounds_are_the_callers(tmp_path):
    data = written(*FILES)
    assert len(read(data, max_members=4)) == 4
    with pytest.raises(ValueError, match="expected at most 3 members, got more"):
        read(data, max_members=3)
    with pytest.raises(ValueError, match="c: expected at most 512 bytes, got a claim of 513"):
        read(data, max_member_bytes=512)
    with pytest.raises(ValueError, match="expected at most 3000 bytes unpacked, got more"):
        read(data, max_bytes=3000)


def test_a_packed_claim_is_not_allocated():
    data = gzip.compress(header_with(WHOLE, 124, b"07777777777")[:2000] + bytes(2**22))
    tracemalloc.start()
    with pytest.raises(ValueError, match="truncated: expected"):
        read(data, max_member_bytes=2**40, max_bytes=2**40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**18


def test_a_tar_cut_before_its_end_mark_is_refused():
    """Python's own reader takes one that is cut between two members for a whole one."""
    data = written(("a", b"one"), ("b", b"two"))[:3072]
    for length in range(2560):
        with pytest.raises(ValueError, match="truncated"):
            read(data[:length])
    assert len(read(data[:2560])) == len(read(data)) == 2
