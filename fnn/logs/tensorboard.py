"""Live curves: TensorBoard's event files."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fnn.extras import require
from fnn.logs.record import AnyReport, over_members, record, scalars, steps_made, summarized
from fnn.train import population
from fnn.tree import paths

# What the horizontal axis says already.
_AXES = ("step", "epoch")


def tensorboard(
    folder: str | os.PathLike[str], *, each_step: bool = False, histograms: bool = False
) -> "TensorBoard":
    """A logger that writes event files to `folder`, for ``tensorboard --logdir``; the axis is the step.

    Scalars: the numbers of `record(report)` by their paths, such as ``loss`` and
    ``evaluation/metrics/accuracy``; of a population their mean, min and max over the members, as in
    ``loss/mean``. Of a run that goes on from step s, TensorBoard drops what was written
    of the steps after s. Extra: runs.

    Args:
      folder: one for each run.
      each_step: also ``steps/loss`` and ``steps/gradient_norm`` of every single step.
      histograms: also one of each parameter's values, by its path, a report; values that are not finite
        are left out, and all members' are together.

    Raises:
      ImportError: `tensorboardX` is not installed.
      NotADirectoryError: the folder is a file.
    """
    module = require("tensorboardX", "runs")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"expected a folder for event files, got the file {folder}")
    return TensorBoard(module, folder, each_step, histograms)


class TensorBoard:
    """See `tensorboard`."""

    def __init__(self, module: Any, folder: Path, each_step: bool, histograms: bool) -> None:
        self.folder = folder
        self._module, self._each_step, self._histograms = module, each_step, histograms
        self._writer: Any = None

    def __call__(self, report: AnyReport) -> None:
        """Write the report's events."""
        before = steps_made(report)
        if self._writer is None:
            again = {"purge_step": before + 1} if before else {}
            # A file of its own: its name is else that of the second, and one there is overwritten.
            self._writer = self._module.SummaryWriter(
                str(self.folder), filename_suffix=f".{before:010}", **again
            )
        writer = self._writer
        for path, value in scalars(summarized(record(report))).items():
            if path not in _AXES:
                writer.add_scalar(path, value, report.steps)
        if self._each_step:
            info = report.info
            for name, values in (("loss", info.loss), ("gradient_norm", info.gradient_norm)):
                for i, value in enumerate(np.asarray(values, np.float64).T):
                    of_step = over_members(value) if value.ndim else float(value)
                    for path, number in scalars({"steps": {name: of_step}}).items():
                        writer.add_scalar(path, number, before + 1 + i)
        if self._histograms:
            params = (
                report.members.params if isinstance(report, population.Report) else report.params
            )
            for path, leaf in paths(params):
                elements = np.asarray(leaf, np.float64).ravel()
                elements = elements[np.isfinite(elements)]
                if elements.size:
                    writer.add_histogram(f"params/{path}", elements, report.steps)
        writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
