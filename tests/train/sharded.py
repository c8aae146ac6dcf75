"""What the tests of many devices share: networks, data, meshes with their rules, and one run on each.

Run as a program, it forces eight CPU devices first and prints what the runs it is asked for gave.
"""

import functools
import json
import os
import sys

if __name__ == "__main__":
    # Compiling is what takes time, and the less the code is optimized for the CPU, the less.
    os.environ["XLA_FLAGS"] = (
        "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true"
    )

import jax
import jax.numpy as jnp
import numpy as np

from fnn import chain, layers, losses, models, optimizers, train

if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")

LOSS = losses.softmax_cross_entropy()
STEPS, BATCH = 10, 16


def dense():
    """With statistics of the batch, and draws."""
    return chain(
        hidden_1=layers.linear(32),
        norm=layers.batch_norm(),
        act=layers.relu(),
        drop=layers.dropout(0.2),
        hidden_2=layers.linear(32),
        logits=layers.linear(8),
    )


def images():
    return models.convnet(8, channels=(8, 16), features=32, dropout_rate=0.1)


def text():
    return models.gpt(16, context=8, layers=2, features=32, heads=8, dropout_rate=0.1)


NETWORKS = {"dense": dense, "images": images, "text": text}
OPTIMIZERS = {
    "momentum": lambda: optimizers.momentum(0.05, 0.9),
    # Where a gradient is nothing but rounding, a small eps makes a whole step of it.
    "adam": lambda: optimizers.adam(0.003, eps=1e-4),
}


def examples(name, dtype):
    """Forty-eight of them: an epoch is three steps, and ten steps shuffle three times."""
    rng = np.random.default_rng(0)
    if name == "text":
        ids = rng.integers(0, 16, (48, 9)).astype(np.int32)
        return jnp.asarray(ids[:, :-1]), jnp.asarray(ids[:, 1:])
    shape = {"dense": (16,), "images": (8, 8, 1)}[name]
    labels = rng.integers(0, 8, 48).astype(np.int32)
    x = rng.normal(size=(8, *shape))[labels] + 0.5 * rng.normal(size=(48, *shape))
    return jnp.asarray(x, dtype), jnp.asarray(labels)


def tensor_parallel(name):
    """By columns and rows; the convolutional network's dense head alone."""
    if name == "text":
        return train.tensor_parallel_transformer()
    if name == "dense":
        return train.tensor_parallel_mlp(2)
    P = jax.sharding.PartitionSpec
    return [("head/dense/w", P(None, "model")), ("logits/w", P("model", None)), ("*", P())]


RULES = {
    "dp": ("data=8", lambda name: train.data_parallel()),
    "fsdp": ("data=8", lambda name: train.fully_sharded(min_size=64)),
    "tp": ("model=8", tensor_parallel),
    "mix": ("data=4,model=2", tensor_parallel),
    "mix_fsdp": (
        "data=2,model=4",
        lambda name: train.fully_sharded(min_size=64, base=tensor_parallel(name)),
    ),
    "three": (
        "data=2,fsdp=2,model=2",
        lambda name: train.fully_sharded("fsdp", min_size=64, base=tensor_parallel(name)),
    ),
}


def placed(name, sharding):
    """The shardings of a run, or None for one device."""
    if sharding == "one":
        return None
    mesh, rules = RULES[sharding]
    return train.shardings(train.mesh(mesh), rules(name))


def start(name, optimizer, dtype):
    x, _ = examples(name, dtype)
    state = train.init(NETWORKS[name](), optimizer, jax.random.key(1), x[:BATCH])
    params = jax.tree.map(lambda p: p.astype(dtype), state.params)
    return state._replace(params=params, optimizer=optimizer.init(params))


def as_lists(tree):
    return [np.asarray(leaf, np.float64).ravel().tolist() for leaf in jax.tree.leaves(tree)]


def trajectory(name, optimizer, dtype, sharding, micro_batches=1):
    """The losses of ten steps, and all parameters after them."""
    dtype, optimizer = jnp.dtype(dtype), OPTIMIZERS[optimizer]()
    shardings, data = placed(name, sharding), examples(name, dtype)
    state = start(name, optimizer, dtype)
    if shardings is not None:
        state, data = shardings.place(state), shardings.replicate(data)
    run = train.epoch(
        NETWORKS[name](),
        LOSS,
        optimizer,
        batch_size=BATCH,
        steps=STEPS,
        shardings=shardings,
        micro_batches=micro_batches,
    )
    state, infos = run(state, data)
    return {
        "losses": np.asarray(infos.loss, np.float64).tolist(),
        "params": as_lists(state.params),
        "state": as_lists(state.state),
    }


def compiled_step(name, sharding, batch_size=72):
    """Whether places, memory and traces are kept; and the collectives of the step."""
    optimizer, dtype = OPTIMIZERS["adam"](), jnp.dtype("float32")
    shardings, (x, target) = placed(name, sharding), examples(name, dtype)
    given = start(name, optimizer, dtype)
    state = shardings.place(given)
    batch = jax.tree.map(lambda a: jnp.resize(a, (batch_size, *a.shape[1:])), (x, target))
    batch = jax.device_put(batch, shardings.batch_sharding)
    step = train.step(NETWORKS[name](), LOSS, optimizer, shardings=shardings)
    text = step.lower(state, batch).compile().as_text()
    before = [leaf.sharding for leaf in jax.tree.leaves(state)]
    after, _ = step(state, batch)
    kept = [
        leaf.sharding.is_equivalent_to(was, leaf.ndim)
        for was, leaf in zip(before, jax.tree.leaves(after), strict=True)
    ]
    donated = [leaf.is_deleted() for leaf in jax.tree.leaves(state.params)]
    parts = [list(p.addressable_shards[0].data.shape) for p in jax.tree.leaves(after.params)]
    step(after, batch)
    np.asarray(jax.random.key_data(given.key))  # which no step has taken
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(given.params))
    return {
        "kept": all(kept),
        "donated": all(donated),
        "params": [list(leaf.shape) for leaf in jax.tree.leaves(state.params)],
        "parts": parts,
        "collectives": [
            {"kind": c.kind, "shapes": [list(shape) for _, shape in c.arrays], "bytes": c.bytes}
            for c in train.collectives(text)
        ],
    }


def draws(sharding):
    """A batch and a dropout mask, as bits."""
    shardings = placed("dense", sharding)
    x, target = examples("dense", jnp.dtype("float32"))
    net = layers.dropout(0.5)

    def drawn(examples, key):
        indices = train.batches.batch_indices(key, jnp.int32(4), 48, BATCH)
        batch = train.examples.take(examples, indices)
        x, target = batch if shardings is None else shardings.batch(batch)
        y, _, _ = net.forward((), (), x, key)
        return x, target, y

    data = (x, target) if shardings is None else shardings.replicate((x, target))
    x, target, y = jax.jit(drawn)(data, jax.random.key(3))
    return {"x": as_lists(x), "target": as_lists(target), "y": as_lists(y)}


def restored(folder):
    """Six steps on one mesh; and three on it, saved, and three more on each of several others."""
    name, optimizer, dtype = "dense", OPTIMIZERS["adam"](), jnp.dtype("float64")
    data, first = examples(name, dtype), start(name, optimizer, dtype)

    def losses(state, sharding):
        shardings = placed(name, sharding)
        run = train.epoch(
            NETWORKS[name](), LOSS, optimizer, batch_size=BATCH, steps=3, shardings=shardings
        )
        state, infos = run(state, data if shardings is None else shardings.replicate(data))
        return state, np.asarray(infos.loss).tolist()

    state, before = losses(placed(name, "fsdp").place(train.copy(first)), "fsdp")
    result = {}
    with train.checkpoints(folder) as saved:
        saved.save(state)
        for sharding in ("fsdp", "mix_fsdp", "dp", "one"):
            shardings = placed(name, sharding)
            like = train.copy(first) if shardings is None else shardings.place(first)
            state = saved.restore(like).train_state
            parts = state.params["hidden_2"].w.addressable_shards[0].data.shape
            result[sharding] = {"losses": losses(state, sharding)[1], "parts": list(parts)}
    return {"before": before, "after": result}


def gathers_of_layers():
    """The rows of the tables whose passes, of a batch over eight devices, move more than sums."""
    from tests.tables import LAYERS, LOSSES

    shardings, rng = train.shardings(train.mesh("data=8")), np.random.default_rng(0)

    def of_sixty_four(tree):
        # As the tables have them, in single precision: x64 is on in this program.
        return jax.tree.map(lambda a: jnp.resize(jnp.asarray(a), (64, *np.shape(a)[1:])), tree)

    def layer_passes(row, net, params, state, x, key):
        with jax.sharding.use_abstract_mesh(shardings.mesh.abstract_mesh):
            (x,) = shardings.batch((x,))
            y, state, cache = net.forward(params, state, x, key)
            dparams, dx = net.backward(params, cache, y)
            return shardings.batch((row.of_x(y), dx)), dparams, state

    def loss_passes(loss, prediction, target):
        with jax.sharding.use_abstract_mesh(shardings.mesh.abstract_mesh):
            prediction, target = shardings.batch((prediction, target))
            losses, cache = loss.forward(prediction, target)
            return shardings.batch((losses, loss.backward(cache, losses)))

    result = {}
    for name, row in LAYERS.items():
        if row.batched:
            net, x = row.build(), of_sixty_four(row.draw(rng))
            params, state = net.init(jax.random.key(0), x)
            passes = functools.partial(layer_passes, row, net)
            result[name] = kinds(passes, params, state, x, jax.random.key(1))
    for name, row in LOSSES.items():
        # Its prediction holds weights too.
        if not name.startswith("linear_softmax_cross_entropy"):
            drawn = of_sixty_four((row.draw(rng), row.target(rng)))
            result[name] = kinds(functools.partial(loss_passes, row.build()), *drawn)
    return result


def kinds(function, *arguments):
    """Of a compiled function's collectives: the kinds, but an all-reduce of nothing that has 64 rows."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return sorted(
        {
            c.kind
            for c in train.collectives(text)
            if c.kind != "all-reduce" or any(64 in shape for _, shape in c.arrays)
        }
    )


def main(jobs):
    functions = {
        f.__name__: f for f in (trajectory, compiled_step, draws, restored, gathers_of_layers)
    }
    for job in jobs:
        function, *arguments = job
        print(json.dumps([job, functions[function](*arguments)]), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
