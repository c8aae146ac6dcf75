"""The folder of a run's checkpoints: one folder a step, whole or not there at all.

step_00000120/           appears by one rename, when all in it is written and flushed to the disk
  SHA256SUMS             of every other file, as `sha256sum -c SHA256SUMS` reads it
  …
damaged_step_00000100/   did not agree with its sums when it was read; set aside by the next save
.saving-…, .deleting-…   what a save or a deletion left that was killed; the next writer removes it
"""

import errno
import hashlib
import os
import re
import shutil
import sys
import weakref
from pathlib import Path

if sys.platform != "win32":
    import fcntl

SUMS = "SHA256SUMS"
_STEP = re.compile(r"step_(\d{8,})")
_SAVING, _DELETING, _DAMAGED, _LOCK = ".saving-", ".deleting-", "damaged_", ".lock"


def step_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step_{step:08d}"


def steps(folder: Path) -> list[int]:
    """The steps that there are checkpoints of, whole or damaged, in order."""
    if not folder.is_dir():
        return []
    found = (_STEP.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def part_of(final: Path) -> Path:
    """Where a checkpoint is written until it is whole."""
    return final.with_name(_SAVING + final.name)


def begin(part: Path) -> None:
    """Make it an empty folder."""
    discard(part)
    part.mkdir(parents=True)


def discard(part: Path) -> None:
    """Remove what is left of it, if it is there; what cannot be removed, the next writer tries again."""
    shutil.rmtree(part, ignore_errors=True)


def commit(part: Path, final: Path) -> None:
    """Add the sums, flush everything to the disk, and make it the checkpoint `final` by one rename."""
    (part / SUMS).write_text(_sums(part), encoding="utf-8")
    for path in sorted(part.rglob("*"), reverse=True):  # what is within a folder before the folder
        _flush(path)
    _flush(part)
    os.rename(part, final)
    _flush(final.parent)


def faults(checkpoint: Path) -> list[str]:
    """What in a checkpoint is not as it was written, a line each; none if it is whole."""
    try:
        stored = (checkpoint / SUMS).read_bytes()
    except OSError as error:
        return [f"{SUMS} cannot be read ({error})"]
    try:
        now = _sums(checkpoint)
    except OSError as error:
        return [f"a file cannot be read ({error})"]
    if stored == now.encode():
        return []
    was = dict(_parsed(line) for line in stored.decode(errors="replace").splitlines())
    is_now = dict(_parsed(line) for line in now.splitlines())
    lines = [f"{name} is missing" for name in sorted(was.keys() - is_now.keys())]
    lines += [f"{name} is no part of it" for name in sorted(is_now.keys() - was.keys())]
    lines += [
        f"{name} was changed or cut off"
        for name in sorted(is_now.keys() & was.keys())
        if is_now[name] != was[name]
    ]
    return lines or [f"{SUMS} was changed"]


def set_aside(checkpoint: Path) -> Path:
    """Rename a damaged checkpoint, so that it is no longer taken for one; its new path."""
    aside = checkpoint.with_name(_DAMAGED + checkpoint.name)
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(checkpoint, aside)
    return aside


def delete(checkpoint: Path) -> None:
    """Remove a checkpoint; killed midway, it is gone as well and the rest is a leftover."""
    doomed = checkpoint.with_name(_DELETING + checkpoint.name)
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(checkpoint, doomed)
    shutil.rmtree(doomed)


def clean(folder: Path) -> None:
    """Remove what killed saves and deletions left; for the one writer of the folder."""
    for entry in folder.iterdir():
        if entry.name.startswith((_SAVING, _DELETING)):
            shutil.rmtree(entry)


class Lock:
    """One writer at a time: held from when it is made until `release`, or nobody has it any more.

    Raises:
      BlockingIOError: another writer, of this process or another one, holds it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if sys.platform != "win32":
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace") or "unknown"
            os.close(self._descriptor)
            raise BlockingIOError(
                error.errno,
                f"{folder}: expected one writer at a time, got another one, of process {holder}, that "
                "is still open; close it, wait for its end, or take another folder",
            ) from error
        self._close = weakref.finalize(self, os.close, self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let another writer in."""
        self._close()


def reason(error: BaseException) -> str:
    """Why a save failed, shortly: the system's own words where they stand within a long text."""
    text = " ".join(str(error).split())
    known = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    return next(
        (words for words in known if words in text), f"{type(error).__name__}: {text[:500]}"
    )


def _sums(checkpoint: Path) -> str:
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    lines = []
    for path in files:
        name = path.relative_to(checkpoint).as_posix()
        if name != SUMS:
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)


def _parsed(line: str) -> tuple[str, str]:
    """(name, sum) of a line, which may be damaged."""
    total, _, name = line.partition("  ")
    return name, total


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    if sys.platform == "win32" and path.is_dir():
        return  # where a folder cannot be opened, and needs no flush
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
