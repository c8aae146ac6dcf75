"""Strict settings for every test: no promotion by accident, and one seed per test that is printed."""

import os
import zlib
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Most of the time goes into compiling, and the tests compile much alike: what one process has compiled,
# the other reads, and the next run too.
PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "programs"
jax.config.update("jax_compilation_cache_dir", str(PROGRAMS))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


# A program of the quick tests runs once or twice, so compiling is three fifths of their time. Without the
# optimizations of LLVM, and with the emitter of loops that XLA had before, it takes a quarter of it. The
# slow tests, and tests run without `-m "not slow"`, run what users run.
QUICKLY_COMPILED = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
if version("jaxlib").startswith("0.10."):  # later ones know no other emitter, and end at the flag
    QUICKLY_COMPILED.append("--xla_cpu_use_fusion_emitters=false")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how programs are compiled, before the first one is."""
    if config.option.markexpr == "not slow":
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICKLY_COMPILED])


# Compiled programs pile up, a gigabyte in a thousand tests, and few are of use to a later test. Each has
# mappings of memory, too, of which Linux grants a process 65,530: one more, and XLA ends the process.
TESTS_BETWEEN_CLEARINGS = 250
TESTS_BETWEEN_COUNTS = 10  # counting takes milliseconds
MOST_MAPPINGS = 20_000
MAPPINGS = Path("/proc/self/maps")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Forget all compiled programs now and then."""
    done = item.config.stash.get(_DONE, 0) + 1
    item.config.stash[_DONE] = done
    if done % TESTS_BETWEEN_CLEARINGS == 0 or (
        done % TESTS_BETWEEN_COUNTS == 0 and mappings() > MOST_MAPPINGS
    ):
        jax.clear_caches()


def mappings() -> int:
    """How many mappings of memory this process has; 0 where the system does not say."""
    return MAPPINGS.read_bytes().count(b"\n") if MAPPINGS.exists() else 0


_DONE = pytest.StashKey[int]()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of this test's own, the same in every run; pytest prints it when the test fails."""
    return zlib.crc32(request.node.nodeid.encode())


@pytest.fixture
def key(seed: int) -> jax.Array:
    return jax.random.key(seed)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
