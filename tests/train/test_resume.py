"""n steps, a checkpoint, fresh objects, m steps: bit for bit n + m steps, whatever the optimizer.

With shuffling, an augmentation that draws, dropout and running statistics. That another process goes on
likewise is in test_kill.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import few
from tables import OPTIMIZERS
from training import LOSS, equal, network

from fnn import optimizers, train, value_and_grad
from fnn.optimizers import schedules
from fnn.train.batches import batch_indices
from fnn.train.epoch import take

BATCH = 16
WHOLE = {
    "adam": lambda: optimizers.adam(0.01),
    "accumulated": lambda: optimizers.accumulate(optimizers.momentum(0.1), 4),
    "sam": lambda: optimizers.sam(optimizers.momentum(0.05)),
    "lbfgs": lambda: optimizers.lbfgs(history=2, max_evaluations=3),
}
COMPOSED = {
    "on a schedule": lambda: optimizers.adamw(schedules.cosine_with_warmup(0.1, 8, warmup_steps=2)),
    "averaged": lambda: optimizers.compose(
        adam=optimizers.adam(0.1), mean=optimizers.exponential_average(0.9)
    ),
    "lookahead": lambda: optimizers.lookahead(optimizers.momentum(0.1), 4),
    "noisy": lambda: optimizers.compose(
        noise=optimizers.add_noise(jax.random.key(5)), sgd=optimizers.sgd(0.1)
    ),
    "guarded": lambda: optimizers.skip_nonfinite(optimizers.adam(0.01)),
}
NET = network()


def augmented(key, batch):
    x, *rest = batch
    return (x * jax.random.bernoulli(key, 0.8, x.shape).astype(x.dtype), *rest)


@jax.jit
def batch_of(key, step, examples):
    return take(examples, batch_indices(key, step, len(examples[1]), BATCH))


@jax.jit
def gradient(state, batch):
    """(the network's next state, the gradient), with the draws of this step; of any optimizer."""
    key = jax.random.fold_in(state.key, state.step)
    x, target = augmented(jax.random.fold_in(key, 1), batch)
    (_, auxiliary), grads = value_and_grad(NET, LOSS)(state.params, state.state, x, target, key)
    return auxiliary.state, grads


def in_two_programs(optimizer):
    """One step, of which only the small part that is the optimizer's is compiled for each of them."""

    @jax.jit
    def move(state, network_state, grads):
        updates, memory = optimizer.update(grads, state.optimizer, state.params)
        params = optimizers.apply_updates(state.params, updates)
        return state._replace(
            params=params, state=network_state, optimizer=memory, step=state.step + 1
        )

    return lambda state, batch: move(state, *gradient(state._replace(optimizer=()), batch))


def whole_step(optimizer, **options):
    """One step as it is trained with."""
    step = train.step(NET, LOSS, optimizer, augment=augmented, **options)
    return lambda state, batch: step(train.copy(state), batch)[0]


def check(optimizer, step, examples, key, folder):
    def advance(state, count):
        for _ in range(count):
            state = step(state, batch_of(state.key, state.step, examples))
        return state

    start = train.init(NET, optimizer, key, examples[0][:8])
    half = advance(start, 3)
    with train.checkpoints(folder) as saved:
        saved.save(half)
    other = train.init(NET, optimizer, jax.random.key(99), examples[0][:8])
    restored = train.checkpoints(folder).restore(other).train_state
    equal(restored, half)
    last = advance(restored, 3)
    equal(last, advance(half, 3))
    assert last.step == 6
    moved = (last.params["logits"].w, last.state["norm"].mean)
    assert not any(map(np.array_equal, moved, (half.params["logits"].w, half.state["norm"].mean)))


@pytest.mark.parametrize("name", few({**OPTIMIZERS, **COMPOSED}, 3))
def test_every_optimizer(name, examples, key, tmp_path):
    optimizer = COMPOSED[name]() if name in COMPOSED else OPTIMIZERS[name].optimizer()
    check(optimizer, in_two_programs(optimizer), examples, key, tmp_path)


@pytest.mark.parametrize("name", few(WHOLE, 1))
def test_whole_steps(name, examples, key, tmp_path):
    optimizer = WHOLE[name]()
    check(optimizer, whole_step(optimizer), examples, key, tmp_path)


@pytest.mark.slow
def test_in_parts_of_a_batch(examples, key, tmp_path):
    optimizer = optimizers.adam(0.01)
    check(optimizer, whole_step(optimizer, micro_batches=2), examples, key, tmp_path)


@pytest.mark.slow
def test_bfloat16_parameters(examples, key, tmp_path):
    net, optimizer = network(), optimizers.momentum(0.1)
    start = train.init(net, optimizer, key, examples[0][:8])
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), start.params)
    start = start._replace(params=low, optimizer=optimizer.init(low))
    examples = (examples[0].astype(jnp.bfloat16), examples[1])
    step = whole_step(optimizer)
    half = step(start, jax.tree.map(lambda a: a[:BATCH], examples))
    with train.checkpoints(tmp_path) as saved:
        saved.save(half)
    restored = train.checkpoints(tmp_path).restore(start).train_state
    assert restored.params["hidden"].w.dtype == jnp.bfloat16
    after = [
        step(state, jax.tree.map(lambda a: a[BATCH : 2 * BATCH], examples))
        for state in (restored, half)
    ]
    equal(*after)


@pytest.mark.slow
def test_a_population(examples, key, tmp_path):
    """Two networks of their own seeds and rates, in one call."""
    optimizer = optimizers.adam(0.01)

    def init(key, rate):
        state = train.init(network(), optimizer, key, examples[0][:8])
        return state._replace(optimizer=optimizers.with_hyperparameters(state.optimizer, rate=rate))

    both = [
        init(key, rate) for key, rate in zip(jax.random.split(key, 2), (0.1, 0.01), strict=True)
    ]
    start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *both)
    step = train.step_function(network(), LOSS, optimizer, augment=augmented)
    steps = jax.jit(
        jax.vmap(lambda state: step(state, jax.tree.map(lambda a: a[:BATCH], examples))[0])
    )
    half = steps(steps(start))
    with train.checkpoints(tmp_path) as saved:
        saved.save(half)
        assert saved.steps() == [2]
        restored = saved.restore(start).train_state
    equal(steps(restored), steps(half))


def test_an_early_stop_goes_along(start, tmp_path):
    """Any tree with a step of its own is saved."""
    stopping = train.early_stopping(patience=2)
    watch = stopping.update(0.5, start.params, stopping.init(start.params))
    with train.checkpoints(tmp_path) as saved:
        saved.save({"train": start, "watch": watch}, step=7)
        back = saved.restore({"train": start, "watch": stopping.init(start.params)}).train_state
    equal(back, {"train": start, "watch": watch})
    assert isinstance(back["watch"], train.stopping.StoppingState)
