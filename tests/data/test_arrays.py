"""NumPy's files: what NumPy writes is read, what it would unpickle or allocate on trust is not."""

import io
import pickle
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from fnn.data import read_npy, read_npz
from fnn.data.arrays import TYPES

ARRAYS = hnp.arrays(
    hnp.scalar_dtypes().filter(lambda t: t.kind in "biufc" and t.itemsize <= 8),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def saved(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def npy(header, body=b"", version=1):
    data = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(data))
    return b"\x93NUMPY" + bytes([version, 0]) + length + data + body


def described(shape="(2,)", descr="'<f4'", order="False", body=bytes(8)):
    return npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n", body)


def zipped(*members, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


class Armed:
    """Unpickling this is noticed."""

    fired = False

    def __reduce__(self):
        return setattr, (Armed, "fired", True)


@given(ARRAYS)
@settings(deadline=None)
def test_what_numpy_writes_comes_back_bit_for_bit_in_native_order(array):
    for written in (array, np.asfortranarray(array)):
        got = read_npy(io.BytesIO(saved(written)))
        assert got.dtype == array.dtype.newbyteorder("=")
        assert got.dtype.isnative
        assert got.shape == written.shape  # NumPy makes a row of a single number in Fortran order
        assert got.tobytes() == array.astype(got.dtype).tobytes()
        assert got.flags.writeable
    assert got.flags.f_contiguous


def test_every_type_that_is_promised(rng):
    for code in TYPES:
        array = rng.integers(0, 2, 5).astype(code)
        np.testing.assert_array_equal(read_npy(io.BytesIO(saved(array))), array, strict=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_a_dictionary(save, tmp_path, rng):
    made = {"x": rng.normal(size=(50, 3)), "y": np.arange(50), "einheit ß": np.zeros((0, 2), bool)}
    path = tmp_path / "arrays.npz"
    save(path, **made)
    got = read_npz(path)
    assert got.keys() == made.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(got[name], array, strict=True)


def test_other_writers_order_of_keys_and_versions():
    header = "{'shape':(2,), 'fortran_order': False, 'descr':'<i4'}"
    for version in (1, 2, 3):
        got = read_npy(io.BytesIO(npy(header, struct.pack("<2i", 5, -1), version)))
        np.testing.assert_array_equal(got, np.array([5, -1], np.int32), strict=True)


@pytest.mark.parametrize("pack", [lambda data: data, lambda data: zipped(("a.npy", data))])
def test_a_pickle_is_refused_and_never_run(pack, tmp_path):
    data = saved(np.array([Armed()], object), allow_pickle=True)
    read = read_npy if pack(data) == data else read_npz
    path = tmp_path / "armed"
    for armed in (pack(data), pickle.dumps(Armed()), zipped(("a.npy", pickle.dumps(Armed())))):
        path.write_bytes(armed)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read(path)
    assert not Armed.fired
    np.load(io.BytesIO(data), allow_pickle=True)  # the same bytes do fire
    assert Armed.fired
    Armed.fired = False


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected an .npy file of version 1 to 3, got b''"),
        (b"\x93NUMPY\4\0" + bytes(20), "of version 1 to 3"),
        (described()[:40], "truncated: expected"),
        (described(body=bytes(7)), "truncated: expected 8 bytes for shape (2,) of float32"),
        (described(body=bytes(9)), "expected the end after 8 bytes for shape (2,)"),
        (described(descr="'|O'"), "got Python objects: a pickle, not loaded"),
        (described(descr="'<U4'"), "expected numbers of a type such as '<f4'"),
        (described(descr="'<M8[s]'"), "got '<M8[s]'"),
        (described(descr="'|f4'"), "got '|f4'"),
        (described(descr="'=f4'"), "got '=f4'"),
        (described(descr="[('a', '<f4')]"), "expected a header with descr (of plain numbers)"),
        (described(descr="'<f16'"), "got '<f16'"),
        (described(descr="'|b1'", body=b"\1\2"), "expected booleans 0 and 1, got a byte 2"),
        (described(order="1"), "expected a header with descr"),
        (described(shape="(-2,)"), "expected a header with descr"),
        (described(shape="(2,,)"), "expected a shape of whole numbers"),
        (described(shape="(2)"), "expected a shape of whole numbers, got (2)"),
        (described(shape="(" + "1," * 33 + ")"), "expected a shape of whole numbers"),
        (described(shape="(1000000000,)"), "expected at most 1073741824 bytes, got shape (1000000"),
        (described(shape="(0, 9999999999)"), "expected at most 1073741824 bytes, got shape (0, 99"),
        (described(shape="(1000000,)"), "truncated: expected 4000000 bytes"),
        (npy("{" * 4097), "expected a header of at most 4096 bytes: 4097"),
        (npy("{}"), "expected a header with descr"),
        (npy("__import__('os').abort()"), "expected a header with descr"),
        (npy("{'descr': '<f4', 'descr': '<f4', 'shape': ()}"), "expected a header with descr"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_array_of_numbers_is_refused_by_name(data, words, packed, tmp_path):
    path = tmp_path / "bad"
    path.write_bytes(zipped(("a.npy", data)) if packed else data)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        (read_npz if packed else read_npy)(path)
    assert str(path) in str(caught.value)
    assert ("[a.npy]" in str(caught.value)) == packed


GOOD = saved(np.arange(3))


def encrypted(data):
    """With the bit of encryption set in both headers of the one member."""
    at = data.index(b"PK\1\2")
    return data[:6] + b"\1" + data[7 : at + 8] + b"\1" + data[at + 9 :]


def listed(data, at, size):
    """With another size in the directory: at 20 the packed one, at 24 the unpacked one."""
    at += data.index(b"PK\1\2")
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def with_zip64_locator(data):
    """With what leads zipfile to a second directory, of any size."""
    return data[:-22] + b"PK\6\7" + bytes(16) + data[-22:]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (listed(zipped(("a.npy", GOOD)), 20, 2**20), "expected members that fit into the file"),
        (listed(zipped(("a.npy", GOOD)), 24, 2**20), "got 152 that cannot hold them"),
        (listed(zipped(("a.npy", GOOD), compression=8), 24, 2**20), "that cannot hold them"),
        (with_zip64_locator(zipped(("a.npy", GOOD))), "got no zip, or one that is cut"),
        (b"", "expected a whole .npz file"),
        (b"PK\5\6".ljust(21, b"\0"), "expected a whole .npz file"),
        (GOOD, "expected a whole .npz file"),
        (zipped(("a.npy", GOOD))[:-1], "expected a whole .npz file"),
        (b"x" + zipped(("a.npy", GOOD)), "expected a whole .npz file"),
        (zipped(("a.txt", GOOD)), "expected names that end in .npy"),
        (zipped(("n" * 300 + ".npy", GOOD)), "expected names that end in .npy"),
        (zipped(("a.npy", GOOD), compression=zipfile.ZIP_BZIP2), "a stored or deflated member"),
        (encrypted(zipped(("a.npy", GOOD))), "expected plain members, got an encrypted one"),
        (zipped(*((f"{n}.npy", GOOD) for n in range(257))), "expected at most 256 arrays"),
        (zipped(("a.npy", GOOD)).replace(GOOD[-8:], b"\7" * 8, 1), "Bad CRC-32"),
    ],
)
def test_what_is_no_npz_is_refused_by_name(data, words, tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)


def test_two_arrays_of_one_name_are_refused():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped(("a.npy", GOOD), ("a.npy", GOOD))
    with pytest.raises(ValueError, match="256 arrays of different names"):
        read_npz(io.BytesIO(data))


def test_bounds_are_the_callers_to_lower(tmp_path):
    assert len(read_npy(io.BytesIO(GOOD), max_bytes=24)) == 3
    with pytest.raises(ValueError, match="at most 23 bytes, got shape"):
        read_npy(io.BytesIO(GOOD), max_bytes=23)
    with pytest.raises(ValueError, match="at most 23 bytes"):
        read_npz(io.BytesIO(zipped(("a.npy", GOOD))), max_bytes=23)


def test_a_bomb_is_refused_before_it_unpacks():
    """Two bombs: one that says how large it is, and one whose array is small."""
    zeros = bytes(2**24)
    honest = zipped(("a.npy", described("(4194304,)", body=zeros)), compression=8)
    hidden = zipped(("a.npy", described() + zeros), compression=8)
    for data, words in ((honest, "at most 1048576 bytes"), (hidden, "expected the end|at most")):
        tracemalloc.start()
        with pytest.raises(ValueError, match=words):
            read_npz(io.BytesIO(data), max_bytes=2**20)
        assert tracemalloc.get_traced_memory()[1] < 2**19
        tracemalloc.stop()
