"""Where a check ran: what a stored report needs besides its numbers, to be made again."""

import platform
from importlib.metadata import version
from typing import NamedTuple

import jax
import numpy as np


class Environment(NamedTuple):
    """Versions and machine of one process, and the arithmetic that every check runs in."""

    python: str
    jax: str
    jaxlib: str
    numpy: str
    system: str  # Linux x86_64
    backend: str  # cpu, gpu, tpu
    device: str  # the first device's kind
    dtype: str = "float64"  # see `fnn.check.precision.exact`
    matmul_precision: str = "highest"


def environment() -> Environment:
    """That of this process. The first call starts jax's backend, if nothing did before."""
    return Environment(
        python=platform.python_version(),
        jax=jax.__version__,
        jaxlib=version("jaxlib"),
        numpy=np.__version__,
        system=f"{platform.system()} {platform.machine()}",
        backend=jax.default_backend(),
        device=jax.devices()[0].device_kind,
    )
