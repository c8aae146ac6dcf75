"""A program that test_kill starts: it trains in child processes, which it kills at random moments.

    killed_training.py FOLDER KILLS SEED

The children are forked before jax has started anything, since importing takes longer than what is to be
killed. Each goes on where the last one was; nothing is told to it. Prints one line of JSON.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint  # noqa: F401 here, before the children

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache" / "programs"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

from fnn import chain, layers, losses, optimizers, train  # noqa: E402

PER_EPOCH, PER_CALL = 4, 2


def augmented(key, batch):
    x, *rest = batch
    return (x * jax.random.bernoulli(key, 0.8, x.shape).astype(x.dtype), *rest)


def training(folder, steps, say):
    """Train so many steps, say each step whose checkpoint is there, and all bits at the end."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(64, 5)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, 64), jnp.int32)
    net = chain(hidden=layers.linear(8), drop=layers.dropout(0.2), logits=layers.linear(3))
    optimizer = optimizers.accumulate(optimizers.adam(0.01), 3)
    start = train.init(net, optimizer, jax.random.key(0), x)
    saved = train.checkpoints(folder)
    told = saved.steps()
    for _ in train.durable(
        folder, net, losses.softmax_cross_entropy(), optimizer, start, (x, labels),
        epochs=steps // PER_EPOCH, batch_size=16, steps_per_call=PER_CALL, save_steps=PER_CALL,
        augment=augmented,
    ):  # fmt: skip
        if saved.steps() != told:
            told = saved.steps()
            say(told[-1])
    state, about = saved.restore(start)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state._replace(key=jax.random.key_data(state.key))):
        digest.update(np.asarray(leaf).tobytes())
    say(about.step, digest.hexdigest())


def begun(folder, steps):
    """A child that trains: (its process, what it says)."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            training(
                folder, steps, lambda *words: os.write(into, f"{json.dumps(words)}\n".encode())
            )
        except BaseException as error:
            os.write(into, f"{json.dumps([repr(error)])}\n".encode())
        finally:
            os._exit(0)
    os.close(into)
    return child, os.fdopen(out)


def killed(folder, chance):
    """The last step that a child said before it was killed, somewhere; None if it said none."""
    child, said = begun(folder, 10**6)
    last = None
    # Some while they start, or compile; the others mostly within a save, which takes most of the time.
    saves = chance.choice([0, 1, 1, 2, 3])
    for _ in range(saves):
        (last,) = json.loads(said.readline())
    time.sleep(chance.uniform(0, 0.06) if saves else chance.uniform(0, 1.0))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for line in said.readlines():
        (last,) = json.loads(line)
    said.close()
    return last


def finished(folder, steps):
    child, said = begun(folder, steps)
    with said:
        *_, last = said
    os.waitpid(child, 0)
    return json.loads(last)


def main():
    warnings.simplefilter("error")
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    chance = random.Random(seed)
    reached, within = 0, set()
    for _ in range(kills):
        last = killed(folder / "killed", chance)
        within |= {(p.name, p.stat().st_mtime_ns) for p in folder.glob("killed/.saving-*")}
        reached = max(reached, last or 0)
        if reached:
            # Whole, by its sums: anything else would be a warning, which is an error here.
            restored = train.checkpoints(folder / "killed").read().step
            assert restored >= reached, (restored, reached)
            reached = restored
    steps = (reached // PER_EPOCH + 2) * PER_EPOCH
    result = {
        "killed": finished(folder / "killed", steps),
        "never": finished(folder / "never", steps),
        "reached": reached,
        "within a save": len(within),
        "left": sorted(path.name for path in (folder / "killed").iterdir()),
    }
    print(json.dumps(result))


main()
