"""`fnn doctor`: what keeps a network from learning, from a shell."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from fnn.cli.options import FILE, NAME, OFF, POSITIONAL, REPEATED
from fnn.cli.subject import MisusedError, check_files, load
from fnn.data import NAMES, read_npz
from fnn.data import load as load_data
from fnn.diagnostics.doctor import Budget, Diagnosis, Verdict, doctor
from fnn.layer import Layer
from fnn.losses.loss import Loss
from fnn.optimizers import Optimizer

_PARTS = ("validation_x", "validation_y")


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Examine a network as it would be trained: exit status 0 if healthy, 1 if sick, 2 if it cannot be.

    The subject is a Layer or a factory of one, with the examples and the loss to train it on:

      fnn doctor "fnn.models:mlp((64, 32), 10)" --data digits --loss fnn.losses:softmax_cross_entropy
      fnn doctor package.net:build --data batch.npz --loss fnn.losses:squared_error --batch-size 64
      fnn doctor … --optimizer "fnn.optimizers:sgd(0.1)" --html report.html

    The gradient is proved, the first loss is compared with chance, the data are looked at, and some
    steps are made; each verdict says what was found, where, and what to do about it. Ten seconds to a
    minute for a small network.
    """

    name: ClassVar = "doctor"

    subject: Annotated[str, POSITIONAL, NAME]
    """The network: a Layer or a factory of one; name may be called with literals."""
    data: str
    """A data set by its name, such as digits, or an .npz file with x and y, and validation_x and
    validation_y if there are."""
    loss: Annotated[str, NAME]
    """The loss of an example."""
    optimizer: Annotated[str | None, NAME] = None
    """As it would train, such as "fnn.optimizers:adam(0.001)"; without, the rate is not asked about."""
    batch_size: int | None = None
    """Of training; 32, or all examples if there are fewer."""
    examples: int = Budget().examples
    """How many are looked at, at equal distances in the set."""
    frozen: Annotated[tuple[str, ...], REPEATED] = ()
    """A pattern of parameters that are meant not to move, such as "embed/*"."""
    check: Annotated[tuple[str, ...], REPEATED] = ()
    """A check to make, such as gradient; all, if none is named."""
    seed: int = 0
    """Of the parameters, the batches and the noise."""
    json: Annotated[Path | None, FILE] = None
    """Write the diagnosis as JSON."""
    html: Annotated[Path | None, FILE] = None
    """Write the diagnosis as one HTML page."""
    quiet: Annotated[bool, OFF] = False
    """Print nothing unless it is sick."""
    traceback: Annotated[bool, OFF] = False
    """Where it cannot be asked, show the whole traceback."""

    def run(self) -> bool:
        """Examine, write and print; whether it is healthy."""
        check_files(json=self.json, html=self.html)
        diagnosis = self.diagnosis()
        if self.json is not None:
            self.json.write_text(diagnosis.to_json() + "\n", "utf-8")
        if self.html is not None:
            self.html.write_text(diagnosis.to_html(self.subject, self._asked()), "utf-8")
        if not (self.quiet and diagnosis.ok):
            print(diagnosis)
        return diagnosis.ok

    def diagnosis(self) -> Diagnosis:
        """What the doctor finds."""
        net, loss = _named(self.subject, Layer), _named(self.loss, Loss)
        optimizer = None if self.optimizer is None else _named(self.optimizer, Optimizer)
        if self.examples < 1:
            raise MisusedError(f"expected --examples of at least 1, got {self.examples}")
        train, validation = _read(self.data)
        return doctor(
            net,
            loss,
            train,
            optimizer=optimizer,
            validation=validation,
            batch_size=self.batch_size,
            frozen=self.frozen,
            checks=self.check or None,
            key=jax.random.key(self.seed),
            budget=Budget(examples=self.examples),
            said=None if self.quiet or not sys.stderr.isatty() else _told,
        )

    def _asked(self) -> dict[str, Any]:
        """What the page says of the options, those aside that change nothing."""
        own = ("subject", "json", "html", "quiet", "traceback")
        given = dataclasses.asdict(self)
        return {
            name: value
            for name, value in given.items()
            if name not in own and value not in (None, ())
        }


def _told(verdict: Verdict) -> None:
    """A verdict as it comes, beside the table that follows."""
    where = f" at {verdict.path}" if verdict.path else ""
    print(f"{verdict.check}: {verdict.illness or verdict.status}{where}", file=sys.stderr)


def _named(text: str, kind: type) -> Any:
    found = load(text)
    if callable(found) and not isinstance(found, kind):
        hint = f'; call it with its arguments, as in "{text}(…)"'
    else:
        hint = ""
    if not isinstance(found, kind):
        raise MisusedError(
            f"expected a {kind.__name__} under {text!r}, got {type(found).__name__}{hint}"
        )
    return found


def _read(data: str) -> tuple[tuple[Any, Any], tuple[Any, Any] | None]:
    """(x, y) of the training part, and of the part that is held out if there is one."""
    if not data.endswith(".npz"):
        if data not in NAMES:
            raise MisusedError(f"expected one of {', '.join(NAMES)}, or an .npz file, got {data!r}")
        known = load_data(data)
        return (known.train.x, known.train.y), (known.test.x, known.test.y)
    if not Path(data).is_file():
        raise MisusedError(f"no file {data!r}")
    arrays = read_npz(data)
    if not {"x", "y"} <= arrays.keys() or (_PARTS[0] in arrays) != (_PARTS[1] in arrays):
        raise MisusedError(
            f"expected the arrays x and y in {data}, and both of {' and '.join(_PARTS)} or none, got "
            f"{', '.join(arrays)}"
        )
    arrays = {name: _narrow(array) for name, array in arrays.items()}
    held_out = (arrays[_PARTS[0]], arrays[_PARTS[1]]) if _PARTS[0] in arrays else None
    return (arrays["x"], arrays["y"]), held_out


def _narrow(array: Any) -> Any:
    """Floats of 64 bits and integers as networks take them."""
    kinds = {"f": np.float32, "i": np.int32, "u": np.int32}
    wide = array.dtype.itemsize == 8 and array.dtype.kind in kinds
    return array.astype(kinds[array.dtype.kind]) if wide else array
