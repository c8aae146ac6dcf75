"""Whole training steps and epochs against raw JAX (`experiments.reference`), timed in turn.

    python -m experiments.workloads [--only W1 W2 W3 W4] [--seconds 20]

W1: MLP 784-512-512-10, batch 128. W2: convnet conv32-conv32-pool-conv64-conv64-pool-128-10 with
BatchNorm and ReLU, 28x28x1, batch 128. W3: GPT of 4 layers, d 128, 4 heads, context 128, vocabulary
65, batch 32, its blocks in a chain and, as "W3 looped", in a loop. W4: MLP 64-32-10 on scikit-learn's
digits, batch 32, a whole epoch with shuffling and feeding. Raw JAX is `jax.value_and_grad` and the same
Adam, or for W3 AdamW, in one jit, called step by step as its users do; "donated" is the same with
`donate_argnums`.
Ratios are fnn / raw JAX, the median and quartiles over rounds; memory is temp + arguments + outputs -
aliased.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import reference, reference_gpt
from experiments.timing import in_turn, ratio, step_memory
from fnn import losses, models, optimizers, train
from fnn.layer import Layer

LOSS = losses.softmax_cross_entropy()
RATE = 1e-3
DECAY = 0.01  # of the GPT's weights
GPT_SHAPE = (65, 128, 4, 128)  # vocabulary, context, layers, features
GPT_BATCH = 32


class Steps(NamedTuple):
    """One training step in three libraries' ways, and what it holds in memory."""

    functions: dict[str, Callable[[], Any]]  # "raw", "donated", "fnn"
    bytes_fnn: int
    bytes_raw: int


def main() -> None:
    """Print the table of the workloads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=["W1", "W2", "W3", "W4"], choices=["W1", "W2", "W3", "W4"]
    )
    parser.add_argument("--seconds", type=float, default=20, help="timing, for each comparison")
    arguments = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; ratio: median [quartiles]")
    for name in arguments.only:
        {"W1": w1, "W2": w2, "W3": w3, "W4": w4}[name](arguments.seconds)


def w1(seconds: float) -> None:
    """The MLP: dense matrix products, where there is nothing to win."""
    compare_steps("W1", mlp_steps(), seconds)


def w2(seconds: float) -> None:
    """The convnet: convolutions, pooling and batch norm, step by step and eight steps a call."""
    compare_steps("W2", convnet_steps(), seconds)
    rng = np.random.default_rng(0)
    params, stats = reference.convnet_params(rng)
    examples = fake_images(rng, (1024, 28, 28, 1))
    net, loss = models.convnet(10), reference.convnet_loss
    compare_epochs("W2", net, loss, params, stats, examples, 128, max(seconds, 40))


def w3(seconds: float) -> None:
    """The GPT, step by step and eight steps a call; its optimizer is AdamW on both sides."""
    for name, looped in (("W3", False), ("W3 looped", True)):
        compare_steps(name, gpt_steps(looped=looped), seconds)
        params, (x, targets) = gpt_case()
        loss, net = reference_gpt.gpt_loss, gpt(looped=looped)
        compare_epochs(
            name, net, loss, params, [], (x, targets), GPT_BATCH, max(seconds, 40), DECAY
        )


def w4(seconds: float) -> None:
    """The small MLP: dispatch and feeding are all there is."""
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    examples = (jnp.asarray(x / 16, jnp.float32), jnp.asarray(labels, jnp.int32))
    params = reference.mlp_params((64, 32, 10), np.random.default_rng(0))
    compare_epochs(
        "W4", models.mlp((32,), 10), reference.mlp_loss, params, [], examples, 32, seconds
    )


def mlp_steps() -> Steps:
    """W1's."""
    rng = np.random.default_rng(0)
    x, labels = fake_images(rng, (128, 784))
    params = reference.mlp_params((784, 512, 512, 10), rng)
    return steps(models.mlp((512, 512), 10), reference.mlp_loss, params, [], x, labels)


def convnet_steps() -> Steps:
    """W2's."""
    rng = np.random.default_rng(0)
    x, labels = fake_images(rng, (128, 28, 28, 1))
    params, stats = reference.convnet_params(rng)
    return steps(models.convnet(10), reference.convnet_loss, params, stats, x, labels)


def gpt_steps(*, looped: bool = False) -> Steps:
    """W3's, its blocks in a chain or in a loop."""
    params, (x, targets) = gpt_case()
    first = x[:GPT_BATCH], targets[:GPT_BATCH]
    return steps(gpt(looped=looped), reference_gpt.gpt_loss, params, [], *first, DECAY)


def gpt(*, looped: bool) -> Layer:
    """W3's network."""
    vocabulary, context, layers, width = GPT_SHAPE
    return models.gpt(
        vocabulary, context=context, layers=layers, features=width, heads=4, looped=looped
    )


def gpt_case() -> tuple[Any, tuple[jax.Array, jax.Array]]:
    """W3's parameters for raw JAX, and eight batches."""
    rng, (vocabulary, context, *_) = np.random.default_rng(0), GPT_SHAPE
    params = reference_gpt.gpt_params(*GPT_SHAPE, rng)
    ids = jnp.asarray(rng.integers(0, vocabulary, (8 * GPT_BATCH, context + 1)), jnp.int32)
    return params, (ids[:, :-1], ids[:, 1:])


def fake_images(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Random images and labels: a step takes as long on any numbers."""
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    return x, jnp.asarray(rng.integers(0, 10, shape[0]), jnp.int32)


def chosen(weight_decay: float) -> optimizers.Optimizer:
    """AdamW if weights decay, or else Adam."""
    if weight_decay:
        return optimizers.adamw(RATE, weight_decay=weight_decay)
    return optimizers.adam(RATE)


def raw_step(
    loss: Callable[..., Any], params: Any, stats: Any, weight_decay: float, *, donate: bool
) -> Callable[..., Any]:
    """Raw JAX's step on a batch, with its own copy of the state."""
    function = reference.make_step(loss, RATE, weight_decay)
    step = jax.jit(function, donate_argnums=(0, 1, 2) if donate else ())
    state = jax.tree.map(jnp.copy, (params, stats, reference.adam_init(params)))

    def run(x: jax.Array, labels: jax.Array) -> jax.Array:
        nonlocal state
        *new, value = step(*state, x, labels)
        state = tuple(new)
        return value

    return run


def steps(
    net: Layer,
    loss: Callable[..., Any],
    params: Any,
    stats: Any,
    x: jax.Array,
    labels: jax.Array,
    weight_decay: float = 0.0,
) -> Steps:
    """One step a call, each with its own state: fnn's, raw JAX's, and raw JAX's with donation."""
    optimizer = chosen(weight_decay)
    step = train.step(net, LOSS, optimizer)
    start = train.init(net, optimizer, jax.random.key(0), x)
    ours = step.lower(start, (x, labels)).compile()  # type: ignore[attr-defined]  # it is a jit
    train_state = train.copy(start)

    def ours_once() -> Any:
        nonlocal train_state
        train_state, info = ours(train_state, (x, labels))
        return info

    plain, donated = (
        raw_step(loss, params, stats, weight_decay, donate=donate) for donate in (False, True)
    )
    raw = jax.jit(reference.make_step(loss, RATE, weight_decay)).lower(
        params, stats, reference.adam_init(params), x, labels
    )
    functions = {
        "raw": lambda: plain(x, labels),
        "donated": lambda: donated(x, labels),
        "fnn": ours_once,
    }
    return Steps(functions, step_memory(ours), step_memory(raw.compile()))


def compare_steps(name: str, steps: Steps, seconds: float) -> None:
    """One step a call, blocked: time and memory."""
    taken = in_turn(steps.functions, seconds=seconds)
    print(f"{name} step       raw JAX {np.median(taken['raw']) * 1e3:8.2f} ms")
    print(f"{name} step       fnn / raw JAX          {ratio(taken['fnn'], taken['raw'])}")
    print(f"{name} step       fnn / raw JAX donated  {ratio(taken['fnn'], taken['donated'])}")
    print(
        f"{name} memory     fnn / raw JAX          {steps.bytes_fnn / steps.bytes_raw:6.2f} "
        f"({steps.bytes_fnn / 1e6:.1f} / {steps.bytes_raw / 1e6:.1f} MB)",
        flush=True,
    )


def compare_epochs(
    name: str,
    net: Layer,
    loss: Callable[..., Any],
    params: Any,
    stats: Any,
    examples: tuple[jax.Array, jax.Array],
    batch: int,
    seconds: float,
    weight_decay: float = 0.0,
) -> None:
    """A shuffled epoch: one compiled call against a loop over steps fed from NumPy."""
    optimizer = chosen(weight_decay)
    epoch = train.epoch(net, LOSS, optimizer, batch_size=batch)
    train_state = train.init(net, optimizer, jax.random.key(0), examples[0][:batch])
    host_x, host_labels = np.asarray(examples[0]), np.asarray(examples[1])
    rng = np.random.default_rng(0)

    def ours_once() -> Any:
        nonlocal train_state
        train_state, infos = epoch(train_state, examples)
        return infos.loss

    def loop(step: Callable[..., Any]) -> Callable[[], Any]:
        def run() -> Any:
            order = rng.permutation(len(host_x))
            for i in range(len(host_x) // batch):
                rows = order[i * batch : (i + 1) * batch]
                value = step(host_x[rows], host_labels[rows])
            return value

        return run

    plain, donated = (
        raw_step(loss, params, stats, weight_decay, donate=donate) for donate in (False, True)
    )
    taken = in_turn(
        {"raw": loop(plain), "donated": loop(donated), "fnn": ours_once}, seconds=seconds
    )
    print(f"{name} epoch      raw JAX {np.median(taken['raw']) * 1e3:8.2f} ms")
    print(f"{name} epoch      fnn / raw JAX          {ratio(taken['fnn'], taken['raw'])}")
    print(
        f"{name} epoch      fnn / raw JAX donated  {ratio(taken['fnn'], taken['donated'])}",
        flush=True,
    )


if __name__ == "__main__":
    main()
