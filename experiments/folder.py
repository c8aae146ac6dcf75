"""The folder of a run, --out: what may lie there before it begins, and what it takes away."""

import shutil
import tempfile
from pathlib import Path

from experiments.networks import weights_file

DEFAULT = Path("runs/mnist")
CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"
PAGE = "report.html"
EVENTS = "events"  # of TensorBoard
PICTURES = ("curves.png", "filters.png", "mistakes.png", "confusion.png")


def chosen(out: Path | None, *, resume: bool, overwrite: bool) -> Path:
    """The folder that was named; else the first of runs/mnist, runs/mnist-2, … without a run.

    So that the same command can be given twice. A run that is resumed is the last of them, of those that
    have a checkpoint if any has one.
    """
    if out is not None or overwrite:
        return DEFAULT if out is None else out
    there: list[Path] = []
    free = DEFAULT
    while learned(free):
        there.append(free)
        free = DEFAULT.with_name(f"{DEFAULT.name}-{len(there) + 1}")
    if not resume or not there:
        return free
    return next((each for each in reversed(there) if CHECKPOINTS in learned(each)), there[-1])


def learned(out: Path) -> list[str]:
    """The names of what an earlier run in this folder has learned or said."""
    saved = any((out / CHECKPOINTS).glob("step_*"))
    files = [path.name for path in (weights_file(out), out / LOG) if path.exists()]
    return [CHECKPOINTS, *files] if saved else files


def check_writable(out: Path) -> None:
    """Refuse a folder that nothing can be written to, before there is something; leaves no trace.

    Raises:
      OSError: with the reason.
    """
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"?")
    except OSError as error:
        raise OSError(
            f"--out {out}: expected a folder that can be written to, got: {error}"
        ) from error


def check_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder in which something was learned that the run would take away.

    A run that is resumed takes nothing away if there is a checkpoint to go on from, or nothing but the
    log of a process that was killed before its first one.

    Raises:
      ValueError: naming what is there, and the ways out.
    """
    found = learned(out)
    saved = CHECKPOINTS in found
    if overwrite or not found or (resume and (saved or not weights_file(out).exists())):
        return
    go_on = "--resume, which goes on with that run, or " if saved else ""
    wanted = "a checkpoint to go on from" if resume else "a folder without a run in it"
    raise ValueError(
        f"--out {out}: expected {wanted}, got the {', '.join(found)} of an earlier run, which this one "
        f"would take away; give {go_on}another --out, or --overwrite to begin anew here"
    )


def clear(out: Path, *, resumed: bool) -> None:
    """Take away what an earlier run left but for its weights; of a run that is resumed, what it said.

    The log, the checkpoints and the events of a run that is resumed stay.
    """
    for name in (*PICTURES, PAGE, *(() if resumed else (LOG,)), "result.json"):
        (out / name).unlink(missing_ok=True)
    if not resumed:
        for name in (CHECKPOINTS, EVENTS):
            shutil.rmtree(out / name, ignore_errors=True)
