"""One line for a test: `assert_gradients(linear(3), x)`, and so for a loss, a network or a function."""

from typing import Any

from fnn.check.functions.function import function
from fnn.check.networks import NetworkReport, network
from fnn.check.reports.report import Report
from fnn.check.subjects import layer, loss
from fnn.layer import Layer
from fnn.losses.loss import Loss


def assert_gradients(subject: Any, *args: Any, **kwargs: Any) -> Report | NetworkReport:
    """Check a subject as `report_of` does, and fail with the report as the message if it is wrong.

        def test_softsign():
            assert_gradients(softsign(), jnp.linspace(-2.0, 2.0, 12).reshape(3, 4))

    Returns:
      the report of a subject that is right, for assertions of one's own on its kinks or branches.

    Raises:
      GradientError: an AssertionError, whose message is the report.
      TypeError: the subject is none that can be checked.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    report = report_of(subject, *args, **kwargs)
    report.raise_if_wrong()
    return report


def report_of(subject: Any, *args: Any, **kwargs: Any) -> Report | NetworkReport:
    """The check that fits a subject, with the arguments that it takes.

    A `Layer` goes to `layer`, or to `network` where a `Loss` comes after it, a `Loss` to `loss`, and any
    other callable to `function`.

    Raises:
      TypeError: the subject is none of these.
    """
    if isinstance(subject, Layer):
        if args and isinstance(args[0], Loss):
            return network(subject, *args, **kwargs)
        return layer(subject, *args, **kwargs)
    if isinstance(subject, Loss):
        return loss(subject, *args, **kwargs)
    if callable(subject):
        return function(subject, *args, **kwargs)
    raise TypeError(
        f"expected a Layer, a Loss or a function to check, got {type(subject).__name__}: {subject!r:.80}"
    )
