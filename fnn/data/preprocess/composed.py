"""Several steps of preprocessing, one after the other, and a whole data set through them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fnn.data.examples import Dataset
from fnn.data.preprocess.fitted import Fitted

Fit = Callable[[Any], Fitted]


class Composed(NamedTuple):
    """Fitted steps in the order in which they are applied."""

    steps: tuple[Any, ...]

    def apply(self, x: Any) -> Any:
        """x through every step, from the first to the last."""
        for step in self.steps:
            x = step.apply(x)
        return x

    def invert(self, x: Any) -> Any:
        """The inputs again, from the last step to the first.

        Raises:
            TypeError: a step cannot be inverted, such as global contrast normalization.
        """
        for step in reversed(self.steps):
            if not hasattr(step, "invert"):
                raise TypeError(f"expected steps that can be inverted, got {type(step).__name__}")
            x = step.invert(x)
        return x


def compose(*steps: Fitted) -> Composed:
    """Fitted steps as one, applied from the first to the last.

    Raises:
        TypeError: a step has no method `apply`.
    """
    for step in steps:
        if isinstance(step, type) or not callable(getattr(step, "apply", None)):
            raise TypeError(f"expected fitted steps with a method apply, got {step!r}")
    return Composed(steps)


def fit(train_x: Any, *steps: Fit | Fitted) -> Composed:
    """Fit steps in a row on the training part, each on what the ones before it make of it.

        whiten = partial(preprocess.zca, epsilon=0.1)
        steps = preprocess.fit(train_x, preprocess.global_contrast(), whiten)

    Args:
        train_x: (N, …), the training part only.
        steps: functions ``train_x -> fitted``, and values that are fitted already.

    Raises:
        TypeError: a step is neither, or a function gives something without a method `apply`.
    """
    return _fit(train_x, steps)[0]


def preprocessed(dataset: Dataset, *steps: Fit | Fitted) -> tuple[Dataset, Composed]:
    """The data set with both parts through steps that are fitted on its training part, and these.

    Raises:
        TypeError: as `fit`.
    """
    fitted, train_x = _fit(dataset.train.x, steps)
    test = dataset.test._replace(x=fitted.apply(dataset.test.x))
    return dataset._replace(train=dataset.train._replace(x=train_x), test=test), fitted


def _fit(x: Any, steps: tuple[Fit | Fitted, ...]) -> tuple[Composed, Any]:
    """The fitted steps, and what they make of the training part."""
    done: list[Any] = []
    for step in steps:
        fitted: Any = step
        if isinstance(step, type) or not hasattr(step, "apply"):
            if not callable(step):
                raise TypeError(f"expected a function of the training part, got {step!r}")
            fitted = step(x)
        x = compose(fitted).apply(x)
        done.append(fitted)
    return Composed(tuple(done)), x
