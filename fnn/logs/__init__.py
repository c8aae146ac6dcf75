"""What a run writes about itself: loggers are callables on a `Report`, and context managers.

with logs.tee(logs.progress(10), logs.jsonl("runs/a.jsonl")) as log:
    for report in train.fit(net, loss, optimizer, train_state, examples, epochs=10, batch_size=128):
        log(report)

The reports of `train.population.fit` are logged alike: a line a report, with a list over the members for
each number in JSON, and their mean, lowest and highest on the screen and in TensorBoard.
"""

from fnn.logs.jsonl import jsonl as jsonl
from fnn.logs.jsonl import read as read
from fnn.logs.progress import progress as progress
from fnn.logs.record import record as record
from fnn.logs.tee import Logger as Logger
from fnn.logs.tee import tee as tee
from fnn.logs.tensorboard import tensorboard as tensorboard
