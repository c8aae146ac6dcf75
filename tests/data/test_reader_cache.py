"""The cache of decoded sources: whole or absent, and never another file's place."""

import io
import os
import re

import numpy as np
import pytest

from fnn.data.cache import fingerprint, packed_text, read_cache, unpacked_text, write_cache

KEY = bytes(range(32))
ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "y": np.array([1, 0], np.int32)}


def test_what_was_written_is_read_under_its_key_only(tmp_path):
    path = tmp_path / "made" / "cache.npz"
    assert read_cache(path, KEY, max_bytes=1000) is None
    write_cache(path, KEY, ARRAYS)
    got = read_cache(path, KEY, max_bytes=1000)
    assert got.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(got[name], array, strict=True)
    assert read_cache(path, KEY[::-1], max_bytes=1000) is None
    write_cache(path, KEY[::-1], {})
    assert read_cache(path, KEY[::-1], max_bytes=1000) == {}
    assert os.listdir(path.parent) == ["cache.npz"]


def test_a_damaged_cache_is_named_and_not_made_anew_in_silence(tmp_path):
    path = tmp_path / "cache.npz"
    write_cache(path, KEY, ARRAYS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected a cache; remove the file")):
        read_cache(path, KEY, max_bytes=1000)


@pytest.mark.parametrize("arrays", [{"precious": np.ones(3)}, {"fingerprint": np.ones(32)}, {}])
def test_another_file_is_not_taken_for_a_cache(arrays, tmp_path):
    path = tmp_path / "results.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="name another file for the cache"):
        read_cache(path, KEY, max_bytes=1000)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "cache.npz"
    write_cache(path, KEY, ARRAYS)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_cache(path, KEY[::-1], {})
    assert os.listdir(tmp_path) == ["cache.npz"]
    assert read_cache(path, KEY, max_bytes=1000).keys() == ARRAYS.keys()


def test_a_fingerprint_is_of_the_content_and_the_question(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"content")
    key = fingerprint(path, "question")
    assert len(key) == 32
    assert fingerprint(io.BytesIO(b"content"), "question") == key
    assert fingerprint(path, "another") != key
    path.write_bytes(b"Content")
    assert fingerprint(path, "question") != key
    with pytest.raises(FileNotFoundError, match="no file"):
        fingerprint(tmp_path / "absent", "question")


def test_a_stream_is_left_where_it_was():
    stream = io.BytesIO(b"--content")
    stream.seek(2)
    assert fingerprint(stream, "q") == fingerprint(io.BytesIO(b"content"), "q")
    assert stream.tell() == 2


def test_a_fingerprint_of_a_folder_is_of_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "1.jpg"
    file.write_bytes(b"one")
    key = fingerprint(tmp_path, "q")
    assert fingerprint(tmp_path, "q") == key
    os.utime(file, ns=(0, 0))
    touched = fingerprint(tmp_path, "q")
    assert touched != key
    file.rename(tmp_path / "a" / "2.jpg")
    assert fingerprint(tmp_path, "q") != touched


def test_words_are_kept_as_bytes():
    words = ("cat", "한글", "a/b.jpg")
    assert packed_text(words).dtype == np.uint8
    assert unpacked_text(packed_text(words)) == words
