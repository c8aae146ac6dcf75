"""SIGTERM and Ctrl-C, which ask a run to come to a good end instead of cutting it off."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody asked to stop: true from the first signal on."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None  # the first that came
        self.at_once = False  # whether another one came

    def __bool__(self) -> bool:
        return self.signal is not None


class Interrupted(SystemExit):
    """A run ended because of a signal; the process ends with the code that shells give it.

    That is 128 and the signal's number: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(128 + number)
        self.message, self.signal = message, number

    def __str__(self) -> str:
        return self.message


@contextmanager
def interruptible(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[Interruption]:
    """Within it, the first signal is only noted; what comes after it acts as it did before.

        with interruptible() as interruption:
            for report in train.fit(…):
                if interruption:
                    break

    The first one says on stderr that it was heard, and gives each of `signals` back to the handler that
    had it, which is what makes a second one stop at once: Ctrl-C raises KeyboardInterrupt, and SIGTERM
    ends the process, even in the middle of a compiled call. At the end all have their handlers again.

    Raises:
      RuntimeError: this is not the main thread, in which alone Python lets signals be handled; or a
        handler is not Python's, which could not be put back.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "expected the main thread, in which alone Python handles signals, got "
            f"{threading.current_thread().name!r}; start the run there, or without signals "
            "(train.durable: signals=False)"
        )
    before = {number: signal.getsignal(number) for number in signals}
    for number, handler in before.items():
        if handler is None:
            raise RuntimeError(
                f"expected a handler of {number.name} that can be put back, got one that was not set "
                "from Python"
            )
    interruption = Interruption()

    def again(number: int, frame: FrameType | None) -> None:
        interruption.at_once = True
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        interruption.signal = signal.Signals(number)
        for other, handler in before.items():
            signal.signal(other, again if callable(handler) else handler)
        # Not print, which may be in the middle of a line when the signal comes.
        words = f"\n{interruption.signal.name}: stopping after this call; once more stops at once\n"
        os.write(2, words.encode())

    try:
        for number in signals:
            signal.signal(number, note)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(message: str, number: signal.Signals) -> NoReturn:
    """Say why, and end the process with the signal's code.

    Raises:
      Interrupted: always.
    """
    os.write(2, f"{message}\n".encode())
    raise Interrupted(message, number)
