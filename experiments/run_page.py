"""What a run of `experiments.mnist` shows in a browser: its page, and event files for TensorBoard."""

# Of the 42 s of the default run, on two cores of a 2.5 GHz Xeon, the page takes 0.7: 0.05 for 31 reports
# and 7 writings, the rest for three pictures at the end. --health compiles for 9 s of processor time.

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from experiments.folder import EVENTS, PAGE
from experiments.plan import Plan
from experiments.record import Record
from fnn import logs, train
from fnn.diagnostics import health, report
from fnn.losses import Loss

_EVERY = 2.0  # seconds; a page is written in a hundredth of one
_LOOKED_AT = 128  # images


class RunPage:
    """The file report.html of a run, written while it trains; begun with the first report.

    Until then an earlier run's page is worth more, and what is added waits.
    """

    def __init__(self, plan: Plan, loss: Loss) -> None:
        config = plan.config
        self._plan = plan
        self._waiting: list[report.Section] = []
        self._page: report.Live | None = None
        self._files = ExitStack()
        self._events: Callable[[train.Report], None] | None = None
        if config.tensorboard:
            self._events = self._files.enter_context(logs.tensorboard(plan.out / EVENTS))
        self._look = health(plan.net, loss) if config.health else None
        self._stopped_by: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say what ended the run, if something did after the training, so that no page waits for more."""
        self._files.close()
        if error is not None and self._page is not None:
            self._page.end(stopped_by=f"{type(error).__name__} {error}".strip())

    def add(self, *sections: report.Section) -> None:
        """Sections, as `report.Live.add` takes them."""
        if self._page is None:
            self._waiting += sections
        else:
            self._page.add(*sections)

    def follow(self, each: train.Report, record: Record) -> None:
        """Show a report, which the record has; after an epoch with its test, and its health if asked."""
        first = self._page is None
        page = self._begun(record)
        page(each)
        if self._events is not None:
            self._events(each)
        if each.evaluation is not None:
            tested = each.evaluation
            page.add(
                report.facts(
                    "Result",
                    {
                        "test accuracy": f"{float(tested.metrics['accuracy']):.2%}",
                        "test loss": float(tested.loss),
                        "after epoch": round(each.epochs),
                    },
                )
            )
            if self._look is not None:
                page.add(report.health(self._health(each)))
        if first or each.evaluation is not None:
            page.write()

    def stopped(self, by: str) -> None:
        """Remember what ended the training before its time."""
        self._stopped_by = by.partition("\n")[0]
        if by != self._stopped_by:
            self.add(report.text("What stopped it", by))

    def end(self, record: Record, result: Mapping[str, Any]) -> None:
        """Write the last page, with the numbers of result.json."""
        page = self._begun(record)
        accuracy, speed = result["test_accuracy"], result["images_per_second"]
        distance = result["largest_gradient_distance"]
        known = {
            "test accuracy": None if accuracy is None else f"{accuracy:.2%}",
            "steps": f"{result['steps']:,} of {self._plan.steps:,}",
            "training": f"{result['training_seconds']:.1f} s",
            "images a second": None if speed is None else f"{speed:,.0f}",
            "largest distance from jax.grad": None if distance is None else f"{distance:.1e}",
        }
        page.add(report.facts("Result", {k: v for k, v in known.items() if v is not None}))
        page.end(stopped_by=self._stopped_by)

    def _begun(self, record: Record) -> report.Live:
        if self._page is None:
            plan, config = self._plan, self._plan.config
            self._page = report.live(
                plan.out / PAGE,
                title=f"{plan.out.name}: {config.model} on {plan.dataset.name}",
                config=plan.settings,
                epochs=plan.epochs,
                every=_EVERY,
                earlier=[_recorded(line, config.batch_size) for line in record.earlier],
            )
            self._page.add(report.facts("Result", {"test accuracy": "after the first epoch"}))
            self._page.add(*self._waiting)
        return self._page

    def _health(self, each: train.Report) -> Any:
        assert self._look is not None
        state = each.train_state
        x, y = (part[:_LOOKED_AT] for part in self._plan.examples)
        return self._look(state.params, state.state, x, y, state.key)


def _recorded(line: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    """A line of the run's log as `logs.record` writes them."""
    found = {
        "step": line["step"],
        "epoch": line["epoch"],
        "loss": line["loss"],
        "metrics": {"accuracy": line["accuracy"]},
        "gradient_norm": line["gradient_norm"],
    }
    if "gradient_distance" in line:
        found["distance"] = line["gradient_distance"]
    found["seconds"] = line["seconds"]
    found["examples_per_second"] = len(line["losses"]) * batch_size / line["seconds"]
    if "test_loss" in line:
        accuracy = {"accuracy": line["test_accuracy"]}
        found["evaluation"] = {"loss": line["test_loss"], "metrics": accuracy}
    return found
