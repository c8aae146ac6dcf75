"""Populations: N networks, with seeds and hyperparameters of their own, trained as one.

    from fnn.train import population

    keys = jax.random.split(jax.random.key(0), 64)
    rates = np.geomspace(1e-4, 1e-1, 64)
    members = population.init(net, adam(), keys, x, hyperparameters={"rate": rates})
    epoch = population.epoch(net, loss, adam(), batch_size=32)
    members, infos = epoch(members, (x, labels))       # infos.loss: (64, steps)
    one = population.member(members, 17)               # an ordinary TrainState

A population is a `TrainState` whose leaves have a leading axis of N, so everything here is `jax.vmap` of
what trains one network: member i is what that network would have become alone, to rounding.
"""

from fnn.train.population.epoch import epoch, evaluate
from fnn.train.population.fit import Best, Report, best, fit
from fnn.train.population.members import init, member, size, spread, stack
from fnn.train.population.memory import MemoryEstimate, check_memory, memory_estimate

__all__ = [
    "Best",
    "MemoryEstimate",
    "Report",
    "best",
    "check_memory",
    "epoch",
    "evaluate",
    "fit",
    "init",
    "member",
    "memory_estimate",
    "size",
    "spread",
    "stack",
]
