"""Whether equal shapes are traced once: what is traced with every call is compiled with every call."""

from collections.abc import Callable

import jax

from fnn.check.precision import exact
from fnn.check.remembered import by_shapes
from fnn.check.reports.report import Row
from fnn.check.reports.verdicts import first_line, words_row
from fnn.check.subject import point
from fnn.check.trial import Trial
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree


def retrace(trial: Trial) -> tuple[Row, ...]:
    """Whether equal shapes are traced once; nothing is compiled: a row for forward, one for backward.

    Forward is called with the state that it returned: the third call on end traces nothing again,
    unless the state changes its tree, shapes or dtypes with every call. Backward is called with the
    caches of two traces of forward, whose static parts have to be equal; what is compared by identity
    never is.
    """
    subject = trial.subject
    with exact():
        try:
            forward, backward = _traces(
                subject.forward, subject.backward, *point(subject), trial.probes[0].dy
            )
        except Exception as error:  # whatever foreign code raises in a transformation
            return (refusal("retrace", error),)
    asked = "a call with equal shapes is not traced again: {}"
    return (
        words_row(
            "retrace",
            "forward",
            _times(forward),
            _times(0),
            asked.format("the third call, with the state that the second one returned"),
        ),
        words_row(
            "retrace",
            "backward",
            _times(backward),
            _times(0),
            asked.format("the second call, with the cache of another forward call"),
        ),
    )


@by_shapes(2)
def _traces(
    forward: ForwardFunction,
    backward: BackwardFunction,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    dy: PyTree,
) -> tuple[int, int]:
    """How often each pass was traced again."""
    compiled = _Counted(lambda *arguments: forward(*arguments)[1:])
    again = _Counted(lambda *arguments: forward(*arguments)[1:])
    counted = _Counted(backward)
    returned, cache = compiled(params, state, x, key)
    returned, _ = compiled(params, returned, x, key)
    before = compiled.traces
    compiled(params, returned, x, key)
    _, other_cache = again(params, state, x, key)
    for each in (cache, other_cache):
        counted(params, each, dy)
    return compiled.traces - before, counted.traces - 1


class _Counted:
    """A jitted function that is only ever traced, and counts how often."""

    def __init__(self, function: Callable[..., PyTree]) -> None:
        self.traces = 0

        def counted(*arguments: PyTree) -> PyTree:
            self.traces += 1
            return function(*arguments)

        self._jitted = jax.jit(counted)

    def __call__(self, *arguments: PyTree) -> PyTree:
        """Shapes and dtypes of the result."""
        return self._jitted.eval_shape(*arguments)


def _times(count: int) -> str:
    return f"traced {count} more time{'' if count == 1 else 's'}"


def refusal(method: str, error: Exception) -> Row:
    """The row of a backward that does not run under a transformation."""
    predicate = f"forward and backward run under {method}, as they do under jit"
    return words_row(method, "backward", first_line(error), "no exception", predicate)
