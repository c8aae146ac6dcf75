"""Signals, within `train.interruptible` and `train.durable`: the first, the second, and what is left."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import train
from fnn.train import Interrupted, TrainState, interruptible


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of 24 steps, 3 a report, that computes nothing."""
    start = TrainState({"w": jnp.ones(2)}, (), (), jax.random.key(0), jnp.asarray(np.int32(0)))

    def fit(net, loss, optimizer, state, examples, **options):
        for made in range(3, 27, 3):
            state = state._replace(step=jnp.asarray(np.int32(made)))
            yield SimpleNamespace(train_state=state, steps=made)

    monkeypatch.setattr(sys.modules["fnn.train.saving.durable"], "fit", fit)
    examples = (jnp.ones((96, 1)), jnp.ones(96))
    return partial(
        train.durable, tmp_path / "run", None, None, None, start, examples, epochs=4, batch_size=16
    )


def steps_in(tmp_path):
    return train.checkpoints(tmp_path / "run").steps()


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


def follow(begin, *numbers):
    for _ in begin():
        for number in numbers:
            send(number)


def test_ctrl_c_ends_with_what_is_made_saved(run, tmp_path, capfd):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        follow(run, signal.SIGINT)
    assert caught.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert steps_in(tmp_path) == [3]
    said = capfd.readouterr().err
    assert "SIGINT: stopping after this call; once more stops at once" in said
    assert "stopped by SIGINT after step 3 of 24" in said


def test_a_second_ctrl_c_stops_at_once(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        follow(run, signal.SIGINT, signal.SIGINT)
    assert steps_in(tmp_path) == []


def test_a_loop_left_after_the_first_signal_is_saved(run, tmp_path):
    for _ in run():
        send(signal.SIGTERM)
        break
    assert steps_in(tmp_path) == [3]


def test_without_signals_in_any_thread(run, tmp_path):
    caught = []

    def work():
        for options in ({"signals": False}, {}):
            try:
                for _ in run(**options):
                    raise KeyboardInterrupt
            except BaseException as error:
                caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    left, refused = caught
    assert isinstance(left, KeyboardInterrupt)
    assert "expected the main thread" in str(refused)
    assert "signals=False" in str(refused)
    assert steps_in(tmp_path) == [3]
