"""Text as characters: read, numbered, and cut into windows for a model that predicts the next one.

The usual task (A. Karpathy, "char-rnn", 2015): the vocabulary is all characters of the text, the first
90 % are to train and the rest to validate, and the target of a window is the window one place on.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fnn.data.bounded import Source, opened, read_bytes

MAX_TEXT_BYTES = 1 << 28
TRAIN_SHARE = 0.9

TEXTS = {
    "tinyshakespeare": "text/tinyshakespeare/input.txt",
    "names": "text/names.txt",
}


def read_text(source: Source, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The text of a UTF-8 file, every character as it stands (newlines and byte-order mark too).

    Python keeps a text at 1, 2 or 4 bytes a character, as its widest one needs.

    Args:
        source: a path, or an open binary file.
        max_bytes: the largest file that is accepted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, too large, or not UTF-8; the message says at which byte.
    """
    with opened(source) as file:
        data = read_bytes(file, max_bytes)
    if not data:
        raise ValueError(f"{file.name}: expected a text, got an empty file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file.name}: expected UTF-8, got byte {data[error.start]:#04x} at {error.start}: "
            f"{error.reason}"
        ) from error


def read_lines(
    source: Source, *, max_bytes: int = MAX_TEXT_BYTES, max_length: int = 1 << 10
) -> tuple[str, ...]:
    """The lines of a UTF-8 file, such as a list of names; a newline after the last may be missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as of `read_text`; or a line is empty, longer than `max_length` characters, or
            ends in a carriage return. The message says which.
    """
    with opened(source) as file:
        lines = read_text(file.binary, max_bytes=max_bytes).removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not 0 < len(line) <= max_length or line.endswith("\r"):
            raise ValueError(
                f"{file.name}: expected 1 to {max_length} characters and a plain newline in line "
                f"{number}, got {len(line)} characters, {line[-20:]!r} at the end"
            )
    return tuple(lines)


def load_text(name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """The text `name`, one of `TEXTS`: "tinyshakespeare" (1,115,394 characters), or "names", a line each.

    Args:
        name: which.
        data_dir: the folder that holds the folders of the data sets; when not given, the variable
            FNN_DATA_DIR, and when that is not set either, `data` in the working directory.

    Raises:
        FileNotFoundError: the file is missing; the message names it.
        ValueError: there is no such text, or the file is damaged.
    """
    if name not in TEXTS:
        raise ValueError(f"no text {name!r}: expected one of {', '.join(TEXTS)}")
    root = Path(data_dir or os.environ.get("FNN_DATA_DIR") or "data")
    return read_text(root / TEXTS[name])


class Vocabulary(NamedTuple):
    """Characters and their numbers: number i stands for characters[i]."""

    characters: str  # sorted by code point, each once

    def encode(self, text: str) -> NDArray[np.int32]:
        """The numbers of a text's characters, (len(text),).

        Raises:
            ValueError: a character is not in the vocabulary; the message says which and where.
        """
        known, codes = _codes(self.characters), _codes(text)
        numbers = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        wrong = known[numbers] != codes
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"expected characters of a vocabulary of {len(known)}, got {text[at]!r} at {at}"
            )
        return numbers.astype(np.int32)

    def decode(self, numbers: ArrayLike) -> str:
        """The text of which these are the numbers, (T,).

        Raises:
            ValueError: they are no row of integers in 0 … len(characters) - 1.
        """
        ids = np.asarray(numbers)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise ValueError(f"expected a row of integers, got shape {ids.shape} of {ids.dtype}")
        wrong = (ids < 0) | (ids >= len(self.characters))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"expected numbers in 0 … {len(self.characters) - 1}, got {ids[at]} at {at}"
            )
        return _codes(self.characters)[ids.astype(np.int64)].tobytes().decode("utf-32-le")


def vocabulary(text: str) -> Vocabulary:
    """All characters of a text.

    Take the whole text's, or fix one beforehand: a validation part may hold characters that the
    training part does not.

    Raises:
        ValueError: there is none.
    """
    if not text:
        raise ValueError("expected a text with at least one character, got an empty one")
    return Vocabulary(np.unique(_codes(text)).tobytes().decode("utf-32-le"))


class TextParts(NamedTuple):
    """A text in two: what comes first, and what comes after it."""

    train: NDArray[np.int32]
    validation: NDArray[np.int32]


def split_text(numbers: NDArray[np.int32], train_share: float = TRAIN_SHARE) -> TextParts:
    """The first ⌊train_share · T⌋ of T numbers, and the rest; not shuffled, as neighbours are alike.

    Raises:
        ValueError: the share leaves one part empty.
    """
    if numbers.ndim != 1:
        raise ValueError(f"expected a row of numbers, got shape {numbers.shape}")
    count = int(train_share * len(numbers)) if 0 < train_share < 1 else 0
    if not 0 < count < len(numbers):
        raise ValueError(
            f"expected a share that leaves something of {len(numbers)} characters in both parts, "
            f"got {train_share}"
        )
    return TextParts(numbers[:count], numbers[count:])


class Windows(NamedTuple):
    """What a language model sees, and what it is to say: target[n, t] follows x[n, t]."""

    x: NDArray[np.int32]  # (N, length)
    target: NDArray[np.int32]  # (N, length)


def windows(numbers: NDArray[np.int32], length: int, *, stride: int | None = None) -> Windows:
    """All windows of `length` numbers that have a next one: x[n] = numbers[n·stride : n·stride + length].

    Both are read-only views, whatever the stride: even all windows (stride 1) take no memory until
    rows of them are picked.

    Args:
        numbers: (T,).
        length: of a window, 1 … T - 1.
        stride: from one window's start to the next; if not given, `length`: no number is seen twice.

    Returns:
        N = ⌊(T - 1 - length) / stride⌋ + 1 windows.

    Raises:
        ValueError: there is no such window.
    """
    stride = length if stride is None else stride
    if numbers.ndim != 1 or not 0 < length < len(numbers) or stride < 1:
        raise ValueError(
            f"expected a row of numbers, a length below its own, and a stride of at least 1; "
            f"got shape {numbers.shape}, length {length}, stride {stride}"
        )
    views = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::stride]
    return Windows(views[:, :-1], views[:, 1:])


def _codes(text: str) -> NDArray[np.uint32]:
    try:
        return np.frombuffer(text.encode("utf-32-le"), "<u4")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected characters, got half a surrogate pair, {text[error.start]!r}, "
            f"at {error.start}"
        ) from error
