"""A ragged evaluation on eight forced devices, against that on one.

A program for test_sharded_evaluation.py.
"""

import json
import os

if __name__ == "__main__":
    # Compiling is what takes time, and the less the code is optimized for the CPU, the less.
    os.environ["XLA_FLAGS"] = (
        "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true"
    )

import jax
import jax.numpy as jnp
import numpy as np

from fnn import chain, layers, losses, optimizers, train

COUNT, BATCH = 43, 20  # two batches of 16 on eight devices, and 11 examples that they do not divide
MESHES = {
    "data": ("data=8", train.data_parallel()),
    "fully sharded": ("data=8", train.fully_sharded(min_size=8)),
    "mixed": ("data=4,model=2", train.tensor_parallel_mlp(1)),
}


def main():
    """Prints, by mesh, what of the evaluation differs from one device's; and what is not whole."""
    jax.config.update("jax_enable_x64", True)
    net = chain(hidden_1=layers.linear(16), norm=layers.batch_norm(), logits=layers.linear(4))
    loss, optimizer = losses.softmax_cross_entropy(), optimizers.sgd(0.1)
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(COUNT, 6)), rng.integers(0, 4, COUNT).astype(np.int32)
    examples = x, labels, rng.uniform(size=COUNT)
    start = train.init(net, optimizer, jax.random.key(0), x[:8])
    options = {
        "batch_size": BATCH,
        "metrics": {"accuracy": train.accuracy},
        "reductions": {"confusion": train.confusion(4)},
    }
    expected = train.evaluate(net, loss, **options)(start.params, start.state, examples)
    found = {}
    for name, (mesh, rules) in MESHES.items():
        shardings = train.shardings(train.mesh(mesh), rules)
        state = shardings.place(start)
        evaluate = train.evaluate(net, loss, shardings=shardings, **options)
        # Before the next program begins: two at once may wait for each other's collectives for ever.
        result = jax.block_until_ready(evaluate(state.params, state.state, examples))
        (report,) = train.fit(
            net,
            loss,
            optimizer,
            start,
            (x[:16], labels[:16]),
            epochs=1,
            batch_size=16,
            validation=examples,
            shardings=shardings,
        )
        alone = train.evaluate(net, loss, batch_size=BATCH)
        after = jax.device_get((report.train_state.params, report.train_state.state))
        judged = float(alone(*after, examples).loss)
        found[name] = {
            "distance": max(
                float(jnp.abs(jnp.asarray(np.asarray(a)) - np.asarray(b)).max())
                for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True)
            ),
            "fit": abs(float(report.evaluation.loss) - judged),
            "whole": all(leaf.is_fully_replicated for leaf in jax.tree.leaves(result)),
            "split": divided(net, loss, shardings, state, (x[:16], labels[:16])),
        }
    print(json.dumps(found))


def divided(net, loss, shardings, state, examples):
    """Whether a device is given its rows of the one batch alone."""
    evaluate = train.evaluate(net, loss, batch_size=16, predictions=False, shardings=shardings)
    lowered = jax.jit(evaluate).lower(state.params, state.state, shardings.replicate(examples))
    return f"[{16 // shardings.batch_parts},6]" in lowered.compile().as_text()


if __name__ == "__main__":
    main()
