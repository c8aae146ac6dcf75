"""What a checkpoint says of itself, and whether the run that goes on from it has the same settings."""

import datetime
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

import fnn
from fnn.train.saving.tree import Leaf

SCHEMA = 1  # of a step's folder; a reader of another one refuses it
_RUN = "run.json"


class Saved(NamedTuple):
    """What a checkpoint says of itself."""

    step: int
    time: str  # UTC, ISO 8601
    settings: dict[str, Any]  # of the run, such as the batch size
    score: float | None
    versions: dict[str, str]  # of fnn and jax
    leaves: dict[str, Leaf]  # by path


def saved_now(
    step: int, settings: Mapping[str, Any], score: float | None, leaves: dict[str, Leaf]
) -> Saved:
    """Of the time and the versions that are."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    versions = {"fnn": fnn.__version__, "jax": jax.__version__}
    return Saved(step, now, dict(settings), score, versions, leaves)


def write_run(checkpoint: Path, saved: Saved) -> None:
    """Into the folder of a checkpoint, as JSON."""
    leaves = {name: leaf._asdict() for name, leaf in saved.leaves.items()}
    content = {"schema": SCHEMA, **saved._asdict(), "leaves": leaves}
    (checkpoint / _RUN).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_run(checkpoint: Path) -> Saved:
    """What `write_run` wrote there.

    Raises:
      ValueError: the schema is another one, or this is no such file.
    """
    path = checkpoint / _RUN
    content = json.loads(path.read_text(encoding="utf-8"))
    schema = content.pop("schema", None)
    if schema != SCHEMA:
        raise ValueError(
            f"{path}: expected schema {SCHEMA}, got {schema}, written by "
            f"fnn {content.get('versions', {}).get('fnn')}; read it with that version"
        )
    leaves = {
        name: Leaf(**{**leaf, "shape": tuple(leaf["shape"])})
        for name, leaf in content.pop("leaves").items()
    }
    return Saved(**content, leaves=leaves)


def as_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they come back from a file: lists for tuples.

    Raises:
      TypeError: one is nothing that JSON has.
    """
    for name, value in settings.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"settings: expected numbers, texts, lists and dicts, as JSON has them, got "
                f"{name!r}: {value!r}"
            ) from error
    return json.loads(json.dumps(dict(settings)))


def compare_settings(
    place: Path, saved: Mapping[str, Any], now: Mapping[str, Any], may_differ: Collection[str]
) -> None:
    """Refuse to go on with other settings.

    Raises:
      ValueError: with a line for each that differs.
    """
    lines = [
        f"  {name}: saved {_value(saved, name)}, now {_value(now, name)}"
        for name in sorted({*saved, *now} - {*may_differ})
        if _value(saved, name) != _value(now, name)
    ]
    if lines:
        listed = "\n".join(lines)
        raise ValueError(
            f"{place}: expected the settings of the run that is saved there, got others:\n{listed}\n"
            "Go on with those, or in another folder (in code, `may_differ` names what may be another)."
        )


def _value(settings: Mapping[str, Any], name: str) -> str:
    """As text, since NaN does not equal itself."""
    return json.dumps(settings[name], sort_keys=True) if name in settings else "nothing"
