"""Text: read, numbered and cut into windows; the real texts where they are."""

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnn.data import Vocabulary, load_text, read_lines, read_text, split_text, vocabulary, windows

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


@given(TEXTS)
@settings(deadline=None)
def test_every_character_is_read_as_it_stands(text):
    assert read_text(io.BytesIO(text.encode())) == text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected a text, got an empty file"),
        (b"abc\xff", "expected UTF-8, got byte 0xff at 3"),
        (b"abc\xed\xa0\x80", "expected UTF-8, got byte 0xed at 3"),
        ("é".encode()[:1], "expected UTF-8, got byte 0xc3 at 0: unexpected end"),
        (bytes(11), "expected at most 10 bytes (max_bytes), got 11"),
    ],
)
def test_what_is_no_text_is_refused_by_name(data, words, tmp_path):
    path = tmp_path / "input.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_text(path, max_bytes=10)
    assert str(path) in str(caught.value)


def test_lines(tmp_path):
    assert read_lines(io.BytesIO(b"emma\nolivia")) == ("emma", "olivia")
    assert read_lines(io.BytesIO("é\nb\n".encode())) == ("é", "b")
    path = tmp_path / "names.txt"
    path.write_bytes(b"ab\n\nc")
    with pytest.raises(ValueError, match=r"names.txt: expected 1 to 1024 .* in line 2, got 0"):
        read_lines(path)
    with pytest.raises(
        ValueError, match=r"1 to 2 characters .* in line 2, got 3 characters, 'abc'"
    ):
        read_lines(io.BytesIO(b"ab\nabc"), max_length=2)
    with pytest.raises(ValueError, match=r"a plain newline in line 1, got 3"):
        read_lines(io.BytesIO(b"ab\r\nc"))
    with pytest.raises(ValueError, match="an empty file"):
        read_lines(io.BytesIO(b""))
    with pytest.raises(ValueError, match="in line 1"):
        read_lines(io.BytesIO(b"\n"))


@given(TEXTS, TEXTS)
@settings(deadline=None)
def test_a_vocabulary_is_every_character_once_and_codes_there_and_back(text, other):
    known = vocabulary(text)
    assert known.characters == "".join(sorted({*text}))
    numbers = known.encode(text)
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [known.characters.index(c) for c in text]
    assert known.decode(numbers) == text
    strange = [n for n, c in enumerate(other) if c not in text]
    if strange:
        words = f"got {other[strange[0]]!r} at {strange[0]}"
        with pytest.raises(ValueError, match=re.escape(words)):
            known.encode(other)
    else:
        assert known.decode(known.encode(other)) == other


def test_of_nothing():
    known = vocabulary("ab")
    assert known == Vocabulary("ab")
    assert known.encode("").shape == (0,)
    assert known.decode([]) == ""
    with pytest.raises(ValueError, match="at least one character"):
        vocabulary("")
    with pytest.raises(ValueError, match="half a surrogate pair"):
        vocabulary("a\ud800")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([0, 2], "expected numbers in 0 … 1, got 2 at 1"),
        ([-1], "expected numbers in 0 … 1, got -1 at 0"),
        ([0.0], "expected a row of integers, got shape (1,) of float64"),
        ([[0]], "expected a row of integers, got shape (1, 1)"),
    ],
)
def test_numbers_that_stand_for_nothing_are_refused(numbers, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        vocabulary("ab").decode(numbers)


def test_the_first_nine_tenths_are_to_train():
    train, validation = split_text(np.arange(25))
    assert train.tolist() == list(range(22))
    assert validation.tolist() == [22, 23, 24]
    assert len(split_text(np.arange(4), 0.5).train) == 2


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5, 0.05, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(ValueError, match="something of 10 characters in both parts"):
        split_text(np.arange(10), share)
    with pytest.raises(ValueError, match="expected a row"):
        split_text(np.zeros((2, 2), np.int32))


@given(st.integers(2, 30), st.integers(1, 8), st.integers(1, 8) | st.none())
@settings(deadline=None)
def test_a_target_is_the_window_one_place_on(count, length, stride):
    numbers = np.random.default_rng(count).integers(0, 9, count).astype(np.int32)
    if length >= count:
        with pytest.raises(ValueError, match="a length below its own"):
            windows(numbers, length, stride=stride)
        return
    x, target = windows(numbers, length, stride=stride)
    starts = range(0, count - length, stride or length)
    assert x.tolist() == [numbers[s : s + length].tolist() for s in starts]
    assert target.tolist() == [numbers[s + 1 : s + 1 + length].tolist() for s in starts]
    assert np.shares_memory(x, numbers)
    assert not x.flags.writeable


@pytest.mark.parametrize("options", [{"length": 0}, {"length": 4}, {"length": 2, "stride": 0}])
def test_windows_that_there_are_not(options):
    with pytest.raises(ValueError, match="stride of at least 1"):
        windows(np.arange(4), **options)


def test_a_missing_text_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tinyshakespeare.input\.txt"):
        load_text("tinyshakespeare", tmp_path)
    with pytest.raises(ValueError, match=r"no text 'moby': expected one of tinyshakespeare, names"):
        load_text("moby")


def test_the_real_texts_have_their_numbers(real_data):
    text = load_text("tinyshakespeare", real_data)
    assert len(text) == 1_115_394
    assert text.count("\n") == 40_000
    known = vocabulary(text)
    assert len(known.characters) == 65
    numbers = known.encode(text)
    train, validation = split_text(numbers)
    assert (len(train), len(validation)) == (1_003_854, 111_540)
    assert known.decode(train[:14]) == "First Citizen:"
    names = read_lines(real_data / "text" / "names.txt")
    assert len(names) == 32_033
    assert {len(name) for name in names} == {*range(2, 16)}
    assert vocabulary("".join(names)).characters == "abcdefghijklmnopqrstuvwxyz"
    assert load_text("names", real_data).split("\n") == [*names]
