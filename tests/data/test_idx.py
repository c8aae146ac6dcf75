"""The IDX reader: right on right files, and a clear ValueError on all others."""

import gzip
import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fnn.data import read_idx

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def header(*sizes, magic=b"\0\0\x08"):
    return magic + bytes([len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def refusal(path, data, **options):
    """The message with which the reader refuses `data`."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        read_idx(path, **options)
    return str(caught.value)


def plain_oracle(data):
    """What a plain IDX file of these bytes holds, or None; by the definition, no more checks."""
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 4:
        return None
    rank = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    body = data[4 + 4 * rank :]
    size = 1
    for n in shape:
        size *= n
    if size == 0 or len(body) != size:
        return None
    return np.array(list(body), np.uint8).reshape(shape)


def agrees_with_oracle(path, data, expected):
    if expected is None:
        refusal(path, data)
    else:
        path.write_bytes(data)
        np.testing.assert_array_equal(read_idx(path), expected, strict=True)


@given(array=ARRAYS, packed=st.booleans())
@settings(deadline=None)
def test_round_trip(array, packed, scratch, idx_bytes):
    scratch.write_bytes(idx_bytes(array, packed=packed))
    got = read_idx(scratch)
    np.testing.assert_array_equal(got, array, strict=True)
    assert got.flags.writeable


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_several_pieces(packed, tmp_path, idx_bytes):
    array = np.random.default_rng(0).integers(0, 4, (3, 1024, 1025)).astype(np.uint8)
    path = tmp_path / "large"
    path.write_bytes(idx_bytes(array, packed=packed))
    np.testing.assert_array_equal(read_idx(str(path)), array, strict=True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated: expected 4 bytes of IDX header, got 0"),
        (b"\0\0\x08", "truncated: expected 4 bytes of IDX header, got 3"),
        (b"PNG\1" + bytes(8), "expected two zero bytes, got 504e"),
        (header(2, magic=b"\0\1\x08") + b"ab", "expected two zero bytes, got 0001"),
        (header(2, magic=b"\0\0\x0d") + bytes(8), "expected IDX type byte 8 (uint8), got 13"),
        (header() + b"a", "expected 1 to 4 dimensions, got 0"),
        (header(1, 1, 1, 1, 1) + b"a", "expected 1 to 4 dimensions, got 5"),
        (b"\0\0\x08\xff" + bytes(1020), "expected 1 to 4 dimensions, got 255"),
        (header(2, 3)[:-1], "truncated: expected 2 dimensions, got 1"),
        (header(0), "expected no empty dimension, got shape (0,)"),
        (header(0, 28, 28), "expected no empty dimension, got shape (0, 28, 28)"),
        (header(2, 3) + bytes(5), "truncated: expected 6 bytes for shape (2, 3), got a file"),
        (header(2, 3) + bytes(7), "expected the end after 6 bytes for shape (2, 3), got more"),
        (header(2**32 - 1) + b"a", "expected at most 1073741824 bytes, got shape (4294967295,)"),
        (header(*[2**32 - 1] * 4), f": {(2**32 - 1) ** 4}"),
        (
            header(2**16, 2**16) + b"a",
            "expected at most 1073741824 bytes, got shape (65536, 65536)",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_each_error_says_what_was_expected_and_what_came(data, words, packed, tmp_path):
    if packed and "got a file" in words:
        words = words.replace("got a file", "got 5")  # its true length is known only by unpacking
    assert words in refusal(tmp_path / "bad", gzip.compress(data) if packed else data)


def test_a_missing_file_is_named_with_the_ways_to_get_it(tmp_path):
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    with pytest.raises(
        FileNotFoundError, match=r"data_dir or .*FNN_DATA_DIR.*download=True"
    ) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_the_bound_is_the_callers_to_lower(tmp_path, idx_bytes):
    path = tmp_path / "images"
    assert "expected at most 23 bytes" in refusal(path, idx_bytes(IMAGES), max_bytes=23)
    np.testing.assert_array_equal(read_idx(path, max_bytes=24), IMAGES)


@pytest.mark.parametrize("packed", [False, True])
def test_truncation_at_every_byte_is_refused(packed, tmp_path, idx_bytes):
    data = idx_bytes(IMAGES, packed=packed)
    for length in range(len(data)):
        refusal(tmp_path / "cut", data[:length])


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_more_is_refused(packed, tmp_path, idx_bytes):
    refusal(tmp_path / "long", idx_bytes(IMAGES, packed=packed) + b"x")


def test_a_second_gzip_member_is_more_data(tmp_path, idx_bytes):
    data = idx_bytes(IMAGES, packed=True)
    assert "got more" in refusal(tmp_path / "two", data + gzip.compress(b"x"))
    # The same bytes in two members are the same file, though.
    plain = idx_bytes(IMAGES)
    (tmp_path / "two").write_bytes(gzip.compress(plain[:20]) + gzip.compress(plain[20:]))
    np.testing.assert_array_equal(read_idx(tmp_path / "two"), IMAGES)


def test_every_flipped_bit_of_a_gzip_file_is_noticed_or_harmless(tmp_path, idx_bytes):
    """A few bits mean nothing: the time stamp, the system, what pads the last byte of data."""
    data, path = idx_bytes(IMAGES, packed=True), tmp_path / "flipped"
    harmless = set()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            got = read_idx(path)
        except ValueError:
            continue
        np.testing.assert_array_equal(got, IMAGES, strict=True)
        harmless.add(bit // 8)
    # Bytes 3 to 9: flags (the text hint), time stamp, effort, system. The last 8: checksum, length.
    assert harmless <= {*range(3, 10), len(data) - 9}


def peak_of_refusal(path, data):
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claim", [(2**30,), (2**15, 2**15), (1, 2**28, 1, 4)])
@pytest.mark.parametrize("packed", [False, True])
def test_a_claim_that_the_file_cannot_hold_is_refused_before_it_is_allocated(
    claim, packed, tmp_path
):
    data = header(*claim) + bytes(100)
    assert peak_of_refusal(tmp_path / "claim", gzip.compress(data) if packed else data) < 2**18


def test_a_gzip_bomb_expands_no_further_than_its_claim(tmp_path):
    bomb = gzip.compress(header(2, 2) + bytes(2**26), 1)
    assert peak_of_refusal(tmp_path / "bomb", bomb) < 2**18


def test_the_densest_gzip_is_not_taken_for_a_false_claim(tmp_path, idx_bytes):
    zeros = np.zeros(2**24, np.uint8)
    data = gzip.compress(idx_bytes(zeros), 9)
    assert len(zeros) > 1000 * len(data)  # DEFLATE's own limit is 1032
    (tmp_path / "zeros").write_bytes(data)
    np.testing.assert_array_equal(read_idx(tmp_path / "zeros"), zeros)


@given(data=st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: b"\0\0\x08" + tail))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_read_rightly_or_refused(data, scratch):
    agrees_with_oracle(scratch, data, plain_oracle(data))


@given(data=st.data(), array=ARRAYS)
@settings(max_examples=500, deadline=None)
def test_any_damage_to_a_file_is_read_rightly_or_refused(data, array, scratch, idx_bytes):
    """Damage inside a plain file may make another valid one; the oracle says which."""
    whole = idx_bytes(array)
    at = data.draw(st.integers(0, len(whole)))
    damaged = (
        whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    )
    agrees_with_oracle(scratch, damaged, plain_oracle(damaged))
    agrees_with_oracle(scratch, gzip.compress(damaged), plain_oracle(damaged))


@given(data=st.data(), array=ARRAYS)
@settings(max_examples=500, deadline=None)
def test_any_damage_to_a_gzip_file_is_read_rightly_or_refused(data, array, scratch, idx_bytes):
    whole = idx_bytes(array, packed=True)
    at = data.draw(st.integers(2, len(whole)))
    damaged = (
        whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    )
    try:
        expected = plain_oracle(gzip.decompress(damaged))
    except (gzip.BadGzipFile, zlib.error, EOFError):
        expected = None
    agrees_with_oracle(scratch, damaged, expected)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_published_files(name, real_data):
    images = read_idx(real_data / name / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(real_data / name / "t10k-labels-idx1-ubyte.gz")
    assert images.shape == (10_000, 28, 28)
    assert labels.shape == (10_000,)
    counts = [1000] * 10
    if name == "mnist":
        counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(labels).tolist() == counts
