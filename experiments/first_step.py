"""Time to the first training step in a fresh process: fnn against raw JAX with NumPy weights.

    python -m experiments.first_step [--rounds 5]

Wall seconds of the whole process, from its start to the end of the first step: importing, drawing the
parameters, tracing, compiling and running. W1 and W2 are the networks of `experiments.workloads`. Raw
JAX draws its weights with NumPy; fnn initializes as its users do, `net.init` with a jax key. Processes
run in turn; ratios are fnn / raw JAX, median [quartiles].
"""

import argparse
import os
import subprocess
import sys
import time

import numpy as np

from experiments.timing import ratio

RAW = """
import numpy as np, jax
from experiments import reference
rng = np.random.default_rng(0)
x = rng.standard_normal({shape}).astype(np.float32)
labels = rng.integers(0, 10, 128).astype(np.int32)
{params}
step = jax.jit(reference.make_step(reference.{loss}), donate_argnums=(0, 1, 2))
jax.block_until_ready(step(params, stats, reference.adam_init(params), x, labels))
"""

FNN = """
import numpy as np, jax
from fnn import losses, models, optimizers, train
rng = np.random.default_rng(0)
x = rng.standard_normal({shape}).astype(np.float32)
labels = rng.integers(0, 10, 128).astype(np.int32)
net, optimizer = models.{model}, optimizers.adam(1e-3)
train_state = train.init(net, optimizer, jax.random.key(0), x)
step = train.step(net, losses.softmax_cross_entropy(), optimizer)
jax.block_until_ready(step(train_state, (x, labels)))
"""

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
WORKLOADS = {
    "W1": {
        "shape": "(128, 784)",
        "params": "params, stats = reference.mlp_params((784, 512, 512, 10), rng), []",
        "loss": "mlp_loss",
        "model": "mlp((512, 512), 10)",
    },
    "W2": {
        "shape": "(128, 28, 28, 1)",
        "params": "params, stats = reference.convnet_params(rng)",
        "loss": "convnet_loss",
        "model": "convnet(10)",
    },
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for name, parts in WORKLOADS.items():
        programs = {"raw": RAW.format(**parts), "fnn": FNN.format(**parts)}
        taken: dict[str, list[float]] = {program: [] for program in programs}
        for i in range(rounds + 1):
            for program in list(programs)[:: 1 if i % 2 else -1]:
                seconds = run(programs[program])
                if i:  # the first round fills the file caches
                    taken[program].append(seconds)
        raw, fnn = np.asarray(taken["raw"]), np.asarray(taken["fnn"])
        print(
            f"{name} first step: raw JAX {np.median(raw):.2f} s, fnn {np.median(fnn):.2f} s, "
            f"ratio {ratio(fnn, raw)}",
            flush=True,
        )


def run(program: str) -> float:
    """Wall seconds of a fresh Python process."""
    # Installed packages come compiled to bytecode, those of a checkout are with the first import, if the
    # environment allows it.
    environment = {key: value for key, value in os.environ.items() if key != NO_BYTECODE}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
