"""Keys by name, and `jax.random`'s own draws without a compilation.

Outside of `jit`, every `jax.random` draw of a new shape compiles a program (0.15 s each on a CPU), so
that the initialization of a small network costs more than its first hundred steps. Here a concrete
key is drawn from with NumPy instead: the same Threefry-2x32 counters (Salmon et al., 2011), so the same
bits as `jax.random`, and the same transforms, so the same numbers to the last places. A traced key,
another key implementation and float64 go to `jax.random` itself: only speed differs, not the draw.
"""

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint32]]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
# Elements drawn at once: the twenty rounds then run over words that stay in the processor's cache.
_BLOCK = 1 << 14


def name_hash(name: str) -> int:
    """What a child's key is derived from: the CRC-32 of its name, the same in every process."""
    return zlib.crc32(name.encode())


def child_key(key: jax.Array | None, name: str) -> jax.Array | None:
    """The key of the child called `name`: ``fold_in(key, crc32(name))``, or None for None.

    It depends on the name alone, so adding a layer does not change the draws of the others. Containers
    refuse siblings whose names have one CRC-32, which would draw the same numbers.
    """
    if key is None:
        return None
    data = name_hash(name)
    words = _concrete_words(key)
    if words is None:
        return jax.random.fold_in(key, data)
    folded = _threefry2x32(words, np.zeros(1, np.uint32), np.array([data], np.uint32))
    child = np.concatenate(folded)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(
            jnp.asarray(child, child.dtype), impl=jax.random.key_impl(key)
        )
    return jnp.asarray(child, child.dtype)  # an old-style key stays one


def normal(
    key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, stddev: float = 1.0
) -> jax.Array:
    """Draws of N(0, stddev²): ``stddev * jax.random.normal(key, shape, dtype)``."""
    unit = _host_uniform(key, shape, dtype, float(np.nextafter(np.float32(-1), np.float32(0))), 1.0)
    if unit is None:
        drawn_there = jax.random.normal(key, shape, dtype)
        return jnp.asarray(stddev, drawn_there.dtype) * drawn_there  # a numpy scalar would widen it
    drawn = np.float32(stddev) * (np.float32(np.sqrt(2)) * _erfinv(unit.reshape(-1)))
    return jnp.asarray(drawn.reshape(shape), dtype)


def uniform(
    key: jax.Array,
    shape: tuple[int, ...],
    dtype: Any = jnp.float32,
    low: float = 0.0,
    high: float = 1.0,
) -> jax.Array:
    """Uniform draws in [low, high): ``jax.random.uniform(key, shape, dtype, low, high)``."""
    drawn = _host_uniform(key, shape, dtype, low, high)
    if drawn is None:
        return jax.random.uniform(key, shape, dtype, low, high)
    return jnp.asarray(drawn, dtype)


def truncated_normal(
    key: jax.Array,
    shape: tuple[int, ...],
    dtype: Any = jnp.float32,
    low: float = -2.0,
    high: float = 2.0,
) -> jax.Array:
    """Draws of N(0, 1) between `low` and `high`: ``jax.random.truncated_normal(key, low, high, …)``."""
    ends = (math.erf(end / math.sqrt(2)) for end in (low, high))
    unit = _host_uniform(key, shape, dtype, *ends)
    if unit is None:
        return jax.random.truncated_normal(key, low, high, shape, dtype)
    drawn = np.float32(np.sqrt(2)) * _erfinv(unit.reshape(-1))
    low32, high32 = np.float32(low), np.float32(high)
    inside = (np.nextafter(low32, high32), np.nextafter(high32, low32))
    return jnp.asarray(np.clip(drawn, *inside).reshape(shape), dtype)


def _concrete_words(key: jax.Array) -> Words | None:
    """The two words of a concrete Threefry key; None if NumPy cannot continue from this key."""
    if isinstance(key, jax.core.Tracer) or str(jax.random.key_impl(key)) != "threefry2x32":
        return None
    with (
        jax.ensure_compile_time_eval()
    ):  # a concrete key may be a constant of a function being traced
        words = np.asarray(jax.random.key_data(key))
    return words if words.shape == (2,) else None


def _host_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: Any, low: float, high: float
) -> np.ndarray | None:
    """`jax.random.uniform`'s float32 draws by NumPy, or None where they are `jax.random`'s to make."""
    words = _concrete_words(key)
    # jax defines its flags when it is imported, where a type checker does not see them.
    counters = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    if words is None or dtype != jnp.float32 or not counters:
        return None
    size = int(np.prod(shape, dtype=np.int64))
    drawn = np.empty(size, np.float32)
    for start in range(0, size, _BLOCK):
        counter = np.arange(start, min(start + _BLOCK, size), dtype=np.uint64)
        first, second = _threefry2x32(
            words, (counter >> np.uint64(32)).astype(np.uint32), counter.astype(np.uint32)
        )
        # 23 random mantissa bits under the exponent of 1 give a float in [1, 2).
        mantissa = ((first ^ second) >> np.uint32(9)) | np.uint32(0x3F800000)
        drawn[start : start + counter.size] = mantissa.view(np.float32) - np.float32(1)
    low32, high32 = np.float32(low), np.float32(high)
    return np.maximum(low32, drawn * (high32 - low32) + low32).reshape(shape)


def _threefry2x32(words: Words, x0: Words, x1: Words) -> tuple[Words, Words]:
    """Threefry-2x32 with twenty rounds: one block cipher call for each counter (x0, x1)."""
    schedule = (words[0], words[1], words[0] ^ words[1] ^ _PARITY)
    with np.errstate(over="ignore"):  # arithmetic is modulo 2**32
        x0, x1 = x0 + schedule[0], x1 + schedule[1]
        for group in range(5):
            for rotation in _ROTATIONS[group % 2]:
                x0 = x0 + x1
                x1 = (x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))
                x1 = x0 ^ x1
            x0 = x0 + schedule[(group + 1) % 3]
            x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


# Two polynomials in w = -log(1 - x²), for w below and above 5 (M. Giles, 2010), highest power first.
_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def _erfinv(x: np.ndarray) -> np.ndarray:
    """The inverse error function in float32, for |x| < 1."""
    w = -np.log1p(-x * x)
    result = _horner(_CENTRAL, w - np.float32(2.5))
    tail = w >= 5
    result[tail] = _horner(_TAIL, np.sqrt(w[tail]) - np.float32(3))
    return result * x


def _horner(coefficients: tuple[float, ...], w: np.ndarray) -> np.ndarray:
    """The polynomial's value in float32."""
    value = np.full_like(w, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * w + np.float32(coefficient)
    return value
