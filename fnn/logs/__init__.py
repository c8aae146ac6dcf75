"""What a run writes about itself: loggers are callables on a `Report`, and context managers.

with logs.tee(logs.progress(10), logs.jsonl("runs/a.jsonl")) as log:
    for report in train.fit(net, loss, optimizer, train_state, examples, epochs=10, batch_size=128):
        log(report)

The reports of `train.population.fit` are logged alike: a line a report, with a list over the members for
each number in JSON, the best member on the screen, and their mean, lowest and highest in TensorBoard.
"""

from fnn.logs.jsonl import jsonl, read
from fnn.logs.progress import progress
from fnn.logs.record import record
from fnn.logs.tee import Logger, tee
from fnn.logs.tensorboard import tensorboard

__all__ = [
    "Logger",
    "jsonl",
    "progress",
    "read",
    "record",
    "tee",
    "tensorboard",
]
