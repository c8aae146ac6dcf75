"""Run as a program by test_augment_training.py: augmentation of a batch that four devices share."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn import augment

AUGMENTATIONS = {
    "affine": augment.affine(augment.rotate(15), augment.scale(0.9, 1.1), edge="reflect"),
    "crop": augment.random_crop(2),
    "colors": augment.color_jitter(0.2, 0.2, 0.2, 0.1),
    "mixup": augment.mixup(5),
}


def main() -> None:
    """Print for each whether it is what one device makes, and the collectives of the program."""
    rows = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    x = jnp.asarray(np.random.default_rng(0).random((8, 7, 9, 3)), jnp.float32)
    batch, key = (x, jnp.arange(8, dtype=jnp.int32) % 5), jax.random.key(0)
    for name, augmentation in AUGMENTATIONS.items():
        shared = jax.tree.map(lambda a: jax.device_put(a, rows), batch)
        program = jax.jit(augmentation, out_shardings=(rows, rows)).lower(key, shared).compile()
        pairs = zip(jax.jit(augmentation)(key, batch), program(key, shared), strict=True)
        same = all(np.allclose(a, b, atol=1e-6) for a, b in pairs)
        found = set(re.findall(r"(all-\w+|collective-permute|reduce-scatter)\(", program.as_text()))
        print(name, len(jax.devices()), same, ",".join(sorted(found)) or "none")


if __name__ == "__main__":
    main()
