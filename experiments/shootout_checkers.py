"""The checkers, each as a function of a bound derivative and its arguments: what it says, in one word.

Every peer is called as its documentation says, with its own tolerances, in the dtype of the arguments,
and is told nothing that the others are not told. fnn raises the arguments to float64 by itself.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from experiments.shootout_dense import DENSE
from experiments.shootout_images import IMAGES
from experiments.shootout_subjects import Arrays, Bound, Function, arguments, bind
from fnn import check
from fnn.extras import require

SUBJECTS = {subject.name: subject for subject in (*DENSE, *IMAGES)}
Word = Literal["accepts", "rejects", "n/a"]
LARGEST = 2**10  # arguments' elements; above, a function evaluated twice for each takes minutes

DTYPES = {"f32": jnp.float32, "f64": jnp.float64, "bf16": jnp.bfloat16}


class Case(NamedTuple):
    """One check: which derivative, where, and in which dtype."""

    subject: str
    fault: str | None
    size: str
    dtype: str
    seed: int


Checker = Callable[[Bound, Arrays], Word]


@cache  # one function object a derivative, so that what jax compiled serves all seeds
def bound(subject: str, fault: str | None) -> Bound:
    """The derivative of a case."""
    return bind(SUBJECTS[subject], fault)


def run(checker: Checker, case: Case) -> Word:
    """What `checker` says of a case; 64-bit types are on only where the case is of float64."""
    with jax.enable_x64(True) if case.dtype == "f64" else nullcontext():
        args = arguments(SUBJECTS[case.subject], case.size, DTYPES[case.dtype], case.seed)
        return checker(bound(case.subject, case.fault), args)


def by_fnn(derivative: Bound, args: Arrays) -> Word:
    """`check.function` with nothing but the function."""
    return "accepts" if check.function(derivative.reverse, *args).ok else "rejects"


def by_fnn_in_steps(derivative: Bound, args: Arrays) -> Word:
    """The same verdict, sooner where it is a rejection, since what one method rejects, all of them do."""
    if not check.function(derivative.reverse, *args, methods=("forward mode",)).ok:
        return "rejects"
    return by_fnn(derivative, args)


def _asserted(assertion: Callable[[Function, Arrays], None], f: Function | None, args: Any) -> Word:
    if f is None:
        return "n/a"
    try:
        assertion(f, args)
    except AssertionError:
        return "rejects"
    return "accepts"


def by_check_grads(derivative: Bound, args: Arrays, *, modes: tuple[str, ...], order: int) -> Word:
    """`jax.test_util.check_grads`; forward mode on the form that has one."""
    function = derivative.forward if "fwd" in modes else derivative.reverse
    return _asserted(partial(_check_grads, modes=modes, order=order), function, args)


def by_chex(derivative: Bound, args: Arrays, *, modes: tuple[str, ...], order: int) -> Word:
    """`chex.assert_numerical_grads`."""
    chex: ModuleType = require("chex", "test")
    function = derivative.forward if "fwd" in modes else derivative.reverse
    return _asserted(
        lambda f, a: chex.assert_numerical_grads(f, a, order=order, modes=modes), function, args
    )


def _check_grads(f: Function, args: Arrays, *, modes: tuple[str, ...], order: int) -> None:
    check_grads(f, args, order=order, modes=modes)


def by_full_jacobian(
    derivative: Bound,
    args: Arrays,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
) -> Word:
    """Every column of the Jacobian by central differences against every row by `jax.vjp`.

    The procedure and the numbers are those of `torch.autograd.gradcheck`. The arguments are raised to
    float64, which there is left to the user.
    """
    if sum(arg.size for arg in args) > LARGEST:
        return "n/a"
    with jax.enable_x64(True):
        wide = tuple(arg.astype(jnp.float64) for arg in args)
        y, pull_back = jax.vjp(derivative.reverse, *wide)
        basis = jnp.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)
        rows = jax.vmap(pull_back)(basis)
        close = True
        for i, (arg, row) in enumerate(zip(wide, rows, strict=True)):
            steps = eps * jnp.eye(arg.size, dtype=arg.dtype).reshape(arg.size, *arg.shape)
            ahead, behind = (_moved(derivative.reverse, wide, i, s * steps) for s in (1, -1))
            columns = (ahead - behind).reshape(arg.size, y.size) / (2 * eps)
            analytic = row.reshape(y.size, arg.size).T
            close &= bool(np.allclose(analytic, columns, rtol=rtol, atol=atol))
    return "accepts" if close else "rejects"


def _moved(f: Function, args: Arrays, i: int, steps: jax.Array) -> jax.Array:
    return jax.vmap(lambda step: f(*args[:i], args[i] + step, *args[i + 1 :]))(steps)


_REVERSE, _FORWARD = ("rev",), ("fwd",)

CHECKERS: dict[str, Checker] = {
    "fnn": by_fnn,
    "check_grads rev": partial(by_check_grads, modes=_REVERSE, order=1),
    "check_grads order 2": partial(by_check_grads, modes=_REVERSE, order=2),
    "check_grads fwd": partial(by_check_grads, modes=_FORWARD, order=1),
    "chex rev": partial(by_chex, modes=_REVERSE, order=1),
    "full Jacobian": by_full_jacobian,
}
