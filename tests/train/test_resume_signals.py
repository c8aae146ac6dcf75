"""`train.interruptible`: what the first signal does, the second, and what is left after."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from fnn.train import interruptible


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def as_before():
    """Whatever a test leaves, the handlers are what they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    left = {number: signal.getsignal(number) for number in before}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert left == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted(number, capfd):
    with interruptible() as interruption:
        assert not interruption
        send(number)
        assert interruption
        assert interruption.signal is number
        assert not interruption.at_once
    assert f"{number.name}: stopping after this call" in capfd.readouterr().err


def test_the_second_acts_as_it_did_before():
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    handler = signal.getsignal(signal.SIGTERM)
    with interruptible() as interruption:
        send(signal.SIGTERM)
        assert heard == []
        send(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert interruption.at_once
    assert signal.getsignal(signal.SIGTERM) is handler
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with interruptible():
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)  # another one than the first


def test_an_error_within_puts_the_handlers_back():
    with pytest.raises(ZeroDivisionError), interruptible():
        raise ZeroDivisionError


def test_one_within_another():
    with interruptible() as outer:
        with interruptible() as inner:
            send(signal.SIGINT)
        assert (bool(inner), bool(outer)) == (True, False)
        send(signal.SIGINT)
        assert outer


def test_the_main_thread_only():
    caught = []

    def work():
        try:
            with interruptible():
                pass
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
    assert (
        "expected the main thread, in which alone Python handles signals, got 'worker'" in caught[0]
    )


def test_a_handler_that_is_not_pythons(monkeypatch):
    getsignal = signal.getsignal
    with monkeypatch.context() as patched:
        patched.setattr(signal, "getsignal", lambda number: None)
        with (
            pytest.raises(RuntimeError, match="handler of SIGINT that can be put back"),
            interruptible(),
        ):
            pass
    assert signal.getsignal is getsignal


def test_a_second_sigterm_kills_in_the_middle_of_a_compiled_call():
    program = """
import os, signal, threading, time
import jax, jax.numpy as jnp
from fnn.train import interruptible

def send():
    for _ in range(2):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

forever = jax.jit(lambda x: jax.lax.while_loop(lambda x: x >= 0, lambda x: (x + 1) % 7, x))
forever_compiled = forever.lower(jnp.int32(0)).compile()
threading.Thread(target=send, daemon=True).start()
with interruptible():
    while True:
        time.sleep(0.01)
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            forever_compiled(jnp.int32(0)).block_until_ready()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGTERM
