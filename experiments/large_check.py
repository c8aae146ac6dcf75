"""A network of ten million parameters, every leaf checked: the time, the memory, and what may be missed.

    python -m experiments.large_check [--width 2048] [--depth 3] [--batch 128]

`check.network` with its default methods, which take probes in place of full Jacobians, on an MLP with
10.0 M parameters: 11 s and 1.5 GiB on 2 cores. Exit status 1 above 60 s, above 4 GiB resident, or if a
right gradient is called wrong. Then what such probes can miss.

Let a backward be wrong by E, Jᵀ + E in place of Jᵀ, and E = σ u vᵀ be of rank one: one element, one row
or one term is wrong. A fault of higher rank is missed less often than its largest part alone.

*Reverse mode* compares all elements of a leaf's gradient, on a normal probe dy, and misses E where
‖E dy‖ <= τ R, with R = max(‖Jᵀ dy‖, floor). Here ‖E dy‖ = σ |z|, z standard normal:

    P(missed) = P(|z| <= a) <= a √(2/π),                            a = τ R / σ

A leaf whose whole gradient is off by a factor 1 + δ has E dy = δ Jᵀ dy, which is missed never if δ > τ.
One element of n off by 1 + δ has σ = δ R / √n, if the rows of Jᵀ are alike.

*A product*, of forward mode or of differences, is ⟨t, E dy⟩ = σ (u·t) (v·dy) for a normal t, the product
z₁ z₂ of two standard normals, whose density is K₀(|s|) / π:

    P(missed) = P(|z₁ z₂| <= a) ≈ (2a / π) (ln(2 / a) + 1 − γ),     a = τ T / σ,  γ = 0.5772…

with T the root of the summed squares of the terms, so that again T = R and σ = δ R / √n if all are alike.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fnn import check
from fnn.losses import softmax_cross_entropy
from fnn.models import mlp

ANALYTIC, NUMERICAL = 1e-10, 1e-6  # the checker's tolerances τ
SECONDS, GIBIBYTES = 60.0, 4.0


def normal_within(a: float) -> float:
    """P(|z| <= a) for a standard normal z."""
    return math.erf(a / math.sqrt(2))


def product_within(a: float) -> float:
    """P(|z₁ z₂| <= a), small a: the first terms of the integral of K₀."""
    return min(1.0, 2 * a / math.pi * (math.log(2 / a) + 1 - np.euler_gamma)) if a < 1 else 1.0


def misses(parameters: int) -> str:
    """The chance that one probe misses a fault in one element of a leaf with so many."""
    lines = [
        f"one of {parameters:,} elements off by a factor 1 + δ: the chance that one probe misses it",
        f"{'δ':>8}{'reverse mode':>16}{'forward mode':>16}{'differences':>16}",
    ]
    for delta in (1.0, 1e-1, 1e-3):
        reverse, differences = (
            tau * math.sqrt(parameters) / delta for tau in (ANALYTIC, NUMERICAL)
        )
        lines.append(
            f"{delta:8.0e}{normal_within(reverse):16.1e}{product_within(reverse):16.1e}"
            f"{product_within(differences):16.1e}"
        )
    return "\n".join(lines)


def simulated(draws: int = 1_000_000) -> str:
    """The two formulas beside what is found by drawing."""
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, draws))
    lines = [f"{'a':>8}{'|z| <= a':>12}{'drawn':>10}{'|z₁z₂| <= a':>14}{'drawn':>10}"]
    for a in (0.1, 0.01, 0.001):
        lines.append(
            f"{a:8.0e}{normal_within(a):12.5f}{np.mean(np.abs(one) <= a):10.5f}"
            f"{product_within(a):14.5f}{np.mean(np.abs(one * other) <= a):10.5f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the network, print the tables; 1 if it took too much, or found a fault."""
    options = _parse(arguments)
    net = mlp([options.width] * options.depth, 10)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((options.batch, 784)), jnp.float32)
    target = jnp.asarray(rng.integers(10, size=options.batch))
    params, state = net.init(jax.random.key(0), x)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    start = time.perf_counter()
    report = check.network(net, softmax_cross_entropy(), x, target, params=params, state=state)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform != "darwin" else 2**30
    )
    print(report)
    print(
        f"\n{sum(sizes):,} parameters, batch {options.batch}: {seconds:.1f} s (at most {SECONDS:.0f}), "
        f"{memory:.2f} GiB at the peak (at most {GIBIBYTES:.0f})"
    )
    print(f"\n{misses(max(sizes))}\n\n{simulated()}")
    return int(not report.ok or seconds > SECONDS or memory > GIBIBYTES)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=2048, help="of each hidden layer")
    parser.add_argument("--depth", type=int, default=3, help="hidden layers")
    parser.add_argument("--batch", type=int, default=128)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
