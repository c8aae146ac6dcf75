"""A character LSTM that learns to write, every gradient by hand.

    python -m experiments.char_lstm --data-dir DATA
    python -m experiments.char_lstm --epochs 40

With --data-dir, the text is DATA/text/tinyshakespeare/input.txt, of which the first nine tenths are
trained on and the rest is held out; without, it is the one sonnet below, which the network learns by
heart. After each epoch: the mean loss in nats a character, of training and of what is held out, and
characters a second; at the end, a text that the network writes.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.screen import Screen
from fnn import train
from fnn.batch import steps_per_epoch
from fnn.extras import require
from fnn.losses import softmax_cross_entropy
from fnn.models import char_lstm, sample
from fnn.optimizers import adam
from fnn.optimizers.schedules import cosine_with_warmup
from fnn.train.step import Gradient

DONE, FAILED, MISUSED = 0, 1, 2
HELD_OUT = 0.1
SONNET = """\
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """What the command line sets."""

    data_dir: Path | None = None
    """The folder that holds text/tinyshakespeare/input.txt; without it, a sonnet is learned."""
    epochs: int | None = None
    """Times through the training text; None: 3 for tiny Shakespeare, 120 for the sonnet."""
    features: int = 128
    """The width of the embedding and of each LSTM."""
    layers: int = 2
    """The number of LSTMs."""
    dropout_rate: float = 0.0
    """The fraction dropped after each LSTM."""
    truncate: int | None = None
    """Cut the gradient every so many steps."""
    steps: int = 64
    """Characters in a sequence."""
    batch_size: int = 32
    """Sequences in a batch."""
    rate: float = 4e-3
    """Adam's learning rate at its peak."""
    gradient: Gradient = "hand"
    """By hand; auto: by jax.grad; both: by hand, with its distance from jax.grad."""
    seed: int = 0
    """Of the first weights, the order of the sequences, dropout, and the sample."""
    sample: int = 400
    """Characters to write at the end."""
    prompt: str = "\n"
    """What to go on from."""
    temperature: float = 0.8
    """Below 1 for bolder, above 1 for stranger text; 0 for the likeliest characters."""


class Text(NamedTuple):
    """A text as numbers."""

    name: str
    alphabet: str  # its characters, sorted; an id is a place in it
    train: np.ndarray  # (M,) of int32
    held_out: np.ndarray  # (K,), which may be empty

    def encoded(self, characters: str) -> np.ndarray:
        """The ids of some characters.

        Raises:
          ValueError: one of them is not in the text.
        """
        unknown = sorted(set(characters) - set(self.alphabet))
        if unknown or not characters:
            raise ValueError(f"expected a prompt of characters of the text, got {characters!r}")
        return np.array([self.alphabet.index(c) for c in characters], np.int32)

    def decoded(self, ids: np.ndarray) -> str:
        """The characters of some ids."""
        return "".join(self.alphabet[i] for i in ids)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    tyro = require("tyro", "experiments")
    name = "python -m experiments.char_lstm"
    config = tyro.cli(Config, args=argv, description=__doc__, prog=name)
    screen = Screen()
    try:
        text = read(config.data_dir)
        prompt = text.encoded(config.prompt)
        examples = sequences(text.train, config.steps)
        per_epoch = steps_per_epoch(len(examples[0]), config.batch_size)
    except (ValueError, OSError) as error:
        screen.fail(f"cannot begin: {error}")
        return MISUSED
    epochs = config.epochs or (3 if config.data_dir else 120)
    screen.say(
        f"{text.name}: {len(text.train):,} characters to train on, {len(text.held_out):,} held out, "
        f"{len(text.alphabet)} different; {per_epoch} steps an epoch"
    )
    net = char_lstm(
        len(text.alphabet),
        features=config.features,
        layers=config.layers,
        dropout_rate=config.dropout_rate,
        truncate=config.truncate,
    )
    total = epochs * per_epoch
    optimizer = adam(cosine_with_warmup(config.rate, total, warmup_steps=total // 10))
    state = train.init(
        net, optimizer, jax.random.key(config.seed), examples[0][: config.batch_size]
    )
    held_out = sequences(text.held_out, config.steps) if len(text.held_out) else None
    try:
        for report in train.fit(
            net,
            softmax_cross_entropy(),
            optimizer,
            state,
            examples,
            epochs=epochs,
            batch_size=config.batch_size,
            validation=held_out,
            gradient=config.gradient,
            steps_per_call=min(per_epoch, 64) if epochs < 20 else per_epoch,
        ):
            state = report.train_state
            if (
                report.epochs == int(report.epochs)
                and int(report.epochs) % max(1, epochs // 10) == 0
            ):
                screen.say(line(report, config))
    except train.NonFiniteError as error:
        screen.fail(str(error))
        return FAILED
    written = sample(
        net,
        state.params,
        state.state,
        jax.random.key(config.seed),
        prompt,
        config.sample,
        config.temperature,
    )
    screen.say(f"\n{config.prompt}{text.decoded(np.asarray(written))}")
    return DONE


def line(report: train.Report, config: Config) -> str:
    """What an epoch brought."""
    made = len(report.info.loss)
    speed = made * config.batch_size * config.steps / report.seconds
    parts = [f"epoch {int(report.epochs):>3}: loss {report.info.loss.mean():.3f}"]
    if report.info.distance is not None:
        parts.append(f"distance from jax.grad {report.info.distance.max():.1e}")
    if report.evaluation is not None:
        loss = float(report.evaluation.loss)
        parts.append(f"held out {loss:.3f} ({loss / math.log(2):.2f} bits a character)")
    return ", ".join([*parts, f"{speed:,.0f} characters/s"])


def read(data_dir: Path | None) -> Text:
    """Tiny Shakespeare, or without a folder the sonnet.

    Raises:
      OSError: there is no such file in the folder.
    """
    if data_dir is None:
        name, characters, held_out = "Sonnet 18", SONNET, 0.0
    else:
        file = data_dir / "text" / "tinyshakespeare" / "input.txt"
        if not file.is_file():
            raise FileNotFoundError(f"no file {file}; without --data-dir, a sonnet is learned")
        name, characters, held_out = "tiny Shakespeare", file.read_text("utf-8"), HELD_OUT
    alphabet = "".join(sorted(set(characters)))
    numbers = {c: i for i, c in enumerate(alphabet)}
    ids = np.array([numbers[c] for c in characters], np.int32)
    cut = round(len(ids) * (1 - held_out))
    return Text(name, alphabet, ids[:cut], ids[cut:])


def sequences(ids: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, target), each (sequences, steps): a text in pieces, and the same one character later.

    The pieces begin every `steps` characters, or closer together in a text that is too short for 64.

    Raises:
      ValueError: the text is shorter than one piece.
    """
    if not 1 <= steps < len(ids):
        raise ValueError(f"expected steps from 1 to {len(ids) - 1} for this text, got {steps}")
    stride = max(1, min(steps, (len(ids) - 1 - steps) // 64))
    starts = np.arange(0, len(ids) - steps, stride)
    at = starts[:, None] + np.arange(steps)[None]
    return ids[at], ids[at + 1]


if __name__ == "__main__":
    sys.exit(main())
