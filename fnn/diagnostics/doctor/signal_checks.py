"""What a pass over the examples shows of every layer: see `fnn.diagnostics.health`."""

from fnn.diagnostics.doctor.diagnosis import Verdict, ok, sick
from fnn.diagnostics.doctor.patient import Patient
from fnn.diagnostics.findings import Finding, Kind, findings
from fnn.diagnostics.health import health

_NAMES: dict[Kind, str] = {
    "not finite": "not finite",
    "vanishing": "vanishing gradient",
    "exploding": "exploding signal",
    "fading": "fading signal",
    "dead": "dead units",
    "saturated": "saturated units",
    "constant": "constant signal",
    "collapsed": "collapsed signal",
}
_EXAMPLES = 128  # so that a unit that fires on one in forty is hardly ever taken for dead


def signals(patient: Patient) -> list[Verdict]:
    """Dead and saturated units, gradients that vanish or explode, signals that fade: a verdict each.

    Of 128 examples, before any step. What is found in several layers is told of the first, or of that
    of the gradient, which comes from behind, of the last.
    """
    x, target = patient.some(_EXAMPLES)
    look = health(patient.net, patient.loss)
    found = look(patient.params, patient.state, x, target, patient.key)
    by_kind: dict[Kind, list[Finding]] = {}
    for finding in findings(found):
        by_kind.setdefault(finding.kind, []).append(finding)
    if not by_kind:
        return [ok("signals", f"{len(found.rows)} layers pass values and gradients on")]
    return [_verdict(kind, some) for kind, some in by_kind.items()]


def _verdict(kind: Kind, some: list[Finding]) -> Verdict:
    told = some[-1] if kind == "vanishing" else some[0]
    more = len(some) - 1
    others = f", and {more} more layer{'s' if more > 1 else ''}" if more else ""
    return sick(
        "signals",
        _NAMES[kind],
        f"{_said(told)}{others}",
        told.advice,
        path=told.path,
        value=told.value,
    )


def _said(finding: Finding) -> str:
    value = finding.value
    match finding.kind:
        case "dead":
            return f"{value:.0%} of the units are 0 on all examples"
        case "saturated":
            return f"{value:.0%} of the elements are on the flat ends"
        case "vanishing":
            return "dL/dy is 0" if value == 0 else f"dL/dy is {value:.1e} of the largest"
        case "exploding":
            return f"{value:.1e} times as large as at the other end"
        case "fading":
            of = "0" if value == 0 else f"{value:.1e} of the largest before it"
            return f"the deviation is {of}"
        case "constant":
            if value == 0:
                return "all examples are the same here"
            return f"examples differ by {value:.1e} of what is there"
        case "collapsed":
            return f"the effective rank is {value:.2f}"
        case _:
            return f"{value:.0f} numbers are infinite or NaN"
