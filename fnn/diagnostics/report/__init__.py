"""One page for a run: a file that loads nothing, can be read on a phone, and is written while it trains.

    with report.live("runs/a/report.html", config=config, epochs=10) as page:
        for each in train.fit(net, loss, optimizer, train_state, examples, epochs=10, batch_size=128):
            page(each)
        page.add(report.picture("Confusion", plots.confusion(counts, classes),
                                plots.confusion_text(counts, classes)))

`live` draws the curves and the numbers; what else there is to see is added as sections: `verdicts` of the
doctor, `summary`, `health`, any `picture` with its text twin, and, of whatever prints as a table (memory,
curvature), `text`. `page` makes a page of sections alone.
"""

from fnn.diagnostics.report.live import Live, live
from fnn.diagnostics.report.page import Status, page, write
from fnn.diagnostics.report.sections import (
    Section,
    facts,
    health,
    machine,
    picture,
    summary,
    table,
    text,
    verdicts,
)

__all__ = [
    "Live",
    "Section",
    "Status",
    "facts",
    "health",
    "live",
    "machine",
    "page",
    "picture",
    "summary",
    "table",
    "text",
    "verdicts",
    "write",
]
