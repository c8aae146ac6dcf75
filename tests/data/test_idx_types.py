"""IDX files of other numbers than bytes, and from open files."""

import gzip
import io
import struct
import tracemalloc

import numpy as np
import pytest

from fnn.data import read_idx
from fnn.data.idx import TYPES

FORMATS = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}


def written(code, shape, numbers):
    header = struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)
    return header + struct.pack(f">{len(numbers)}{FORMATS[code]}", *numbers)


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["plain", "packed"])
def test_every_type_of_the_format(code, pack):
    numbers = [1, 2, 3, 100, 5, 6] if code == 8 else [1, -2, 3, -100, 5, 6]
    got = read_idx(io.BytesIO(pack(written(code, (2, 3), numbers))), dtype=TYPES[code])
    expected = np.array(numbers, TYPES[code]).reshape(2, 3)
    np.testing.assert_array_equal(got, expected, strict=True)
    assert got.dtype.isnative
    assert got.flags.writeable


def test_the_type_must_be_the_one_asked_for():
    data = written(0x0D, (1,), [1.5])
    with pytest.raises(ValueError, match=r"expected IDX type byte 8 \(uint8\), got 13 \(float32\)"):
        read_idx(io.BytesIO(data))
    with pytest.raises(ValueError, match=r"type byte 14 \(float64\), got 13 \(float32\)"):
        read_idx(io.BytesIO(data), dtype=np.float64)
    with pytest.raises(ValueError, match="expected a dtype of IDX, one of uint8, int8"):
        read_idx(io.BytesIO(data), dtype=np.int64)


def test_bounds_are_in_bytes():
    data = written(0x0E, (3,), [1, 2, 3])
    assert len(read_idx(io.BytesIO(data), dtype=np.float64, max_bytes=24)) == 3
    with pytest.raises(ValueError, match=r"at most 23 bytes, got shape \(3,\): 24"):
        read_idx(io.BytesIO(data), dtype=np.float64, max_bytes=23)
    with pytest.raises(ValueError, match=r"truncated: expected 24 bytes for shape \(3,\)"):
        read_idx(io.BytesIO(data[:-1]), dtype=np.float64)


def test_an_open_file_is_read_from_where_it_stands(tmp_path):
    path = tmp_path / "two"
    path.write_bytes(b"before" + written(0x08, (2,), [7, 8]))
    with path.open("rb") as file:
        file.seek(6)
        assert read_idx(file).tolist() == [7, 8]
        assert not file.closed
    stream = io.BytesIO(written(0x08, (2,), [7]))
    with pytest.raises(ValueError, match="BytesIO: truncated"):
        read_idx(stream)
    stream.name = "memory"
    stream.seek(0)
    with pytest.raises(ValueError, match="memory: truncated"):
        read_idx(stream)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="expected a file, got a folder, a pipe or a device"):
        read_idx(tmp_path)


@pytest.mark.parametrize("level", [0, 9])
def test_a_packed_array_larger_than_its_file_grows_to_its_size(level):
    array = np.arange(2**18).astype(np.uint8) if level == 0 else np.zeros(2**20, np.uint8)
    data = gzip.compress(written(0x08, (len(array),), array.tolist()), level)
    got = read_idx(io.BytesIO(data))
    np.testing.assert_array_equal(got, array, strict=True)


def test_a_packed_claim_is_not_allocated_before_it_comes():
    """Within DEFLATE's ratio: these 150 kilobytes could become the 64 megabytes that are claimed."""
    noise = np.random.default_rng(0).integers(0, 16, 2**18).astype(np.uint8).tobytes()
    data = gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2**26) + noise)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"truncated: expected 67108864 bytes .* got 262144"):
        read_idx(io.BytesIO(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) < 0.6 * len(noise)
    assert peak < 2 * len(noise) + 2**18
