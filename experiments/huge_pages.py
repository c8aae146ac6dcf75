"""What huge pages for temporaries are worth on a Linux CPU: the same steps with and without them.

    python -m experiments.huge_pages [--rounds 3] [--only W2]

XLA:CPU allocates the temporaries of a program anew at each call, and the kernel hands them out in pages
of 4 KiB that are faulted in one by one: 28,000 for a step of the convnet. Started with
`GLIBC_TUNABLES=glibc.malloc.hugetlb=1` in its environment, a process gets them in pages of 2 MiB. Where
`/sys/kernel/mm/transparent_hugepage/enabled` says `always` it gets them anyway, where it says `never` it
does not. W1 to W3 are those of `experiments.workloads`. Processes with and without are run in turn, and
each measures fnn and raw JAX in turn; ratios are with / without, the median and the extremes over rounds.
Two cores of a 2.5 GHz Xeon, jax 0.10.2, two rounds: W1 0.87 [0.74-1.00], W2 0.68 [0.67-0.69], W3 0.53
[0.46-0.59] for fnn; 0.81, 0.69 and 0.53 for raw JAX.
"""

import argparse
import json
import os
import subprocess
import sys

import jax
import numpy as np

from experiments import workloads
from experiments.timing import in_turn

SETTING = "glibc.malloc.hugetlb=1"
STEPS = {
    "W1": workloads.mlp_steps,
    "W2": workloads.convnet_steps,
    "W3": workloads.gpt_steps,
}


def main() -> None:
    """Print the table, or as a child the milliseconds of a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--child", choices=list(STEPS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        functions = STEPS[arguments.child]().functions
        taken = in_turn({name: functions[name] for name in ("raw", "fnn")}, seconds=8)
        print(json.dumps({name: float(np.median(each)) * 1e3 for name, each in taken.items()}))
        return
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; a step with / without")
    for name in arguments.only:
        rounds = [
            (_timed(name, huge=False), _timed(name, huge=True)) for _ in range(arguments.rounds)
        ]
        for who, label in (("raw", "raw JAX"), ("fnn", "fnn")):
            without, with_ = (np.array([pair[i][who] for pair in rounds]) for i in (0, 1))
            ratios = with_ / without
            print(
                f"{name} {label:8s} {np.median(without):8.2f} -> {np.median(with_):8.2f} ms, "
                f"{np.median(ratios):.2f} [{ratios.min():.2f}-{ratios.max():.2f}]"
            )
        shares = [np.median([pair[i]["fnn"] / pair[i]["raw"] for pair in rounds]) for i in (0, 1)]
        print(f"{name} fnn / raw JAX: {shares[0]:.2f} -> {shares[1]:.2f}", flush=True)


def _timed(name: str, *, huge: bool) -> dict[str, float]:
    """Milliseconds of a step in a fresh process."""
    environment = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    if huge:
        environment["GLIBC_TUNABLES"] = SETTING
    command = [sys.executable, "-m", "experiments.huge_pages", "--child", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
