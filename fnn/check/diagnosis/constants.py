"""What a measured constant is: -1, 1/2, n, n / (n - 1) for the size n of some axis, or a number."""

import math
from fractions import Fraction

import numpy as np

from fnn.check.diagnosis.evidence import Evidence

_SAME = 1e-9

_OF_SIZE = {
    "n": lambda n: n,
    "1/n": lambda n: 1 / n,
    "n / (n - 1)": lambda n: n / (n - 1),
    "(n - 1) / n": lambda n: (n - 1) / n,
    "1 / (n - 1)": lambda n: 1 / (n - 1),
    "(n + 1) / n": lambda n: (n + 1) / n,
    "n / (n + 1)": lambda n: n / (n + 1),
    "√n": math.sqrt,
    "1/√n": lambda n: 1 / math.sqrt(n),
    "2/n": lambda n: 2 / n,
}
_PLAIN = {1.0, 2.0, 0.5, 3.0, 4.0, 0.25}


def same(a: float, b: float) -> bool:
    """Whether two measured constants are one."""
    return abs(a - b) <= _SAME * max(abs(a), abs(b))


def number(c: float) -> str:
    """The constant as a small fraction where it is one, else in up to ten digits."""
    fraction = Fraction(c).limit_denominator(64)
    if same(float(fraction), c):
        return str(fraction)
    return f"{c:.10g}"


def origin(c: float, evidence: Evidence) -> str:
    """Where a constant may come from, such as ``n / (n - 1) with n = 6, the size of x's axis 0``.

    The empty string for plain ones, and where no size and no parameter gives it.
    """
    if any(same(abs(c), plain) for plain in _PLAIN):
        return ""
    sign = "-" if c < 0 else ""
    for formula, of in _OF_SIZE.items():
        for n, what in evidence.sizes:
            if same(abs(c), of(n)):
                grouped = f"-({formula})" if sign and " " in formula else sign + formula
                return f"{grouped} with n = {n}, {what}"
    for name, atom in evidence.atoms.items():
        scalar = float(np.ravel(atom)[0]) if atom.size == 1 else 0.0
        if scalar in (0.0, 1.0) or not math.isfinite(scalar):
            continue
        for formula, value in {name: scalar, f"1 / ({name})": 1 / scalar}.items():
            if same(c, value):
                return formula
    return ""


def with_origin(c: float, evidence: Evidence) -> str:
    """``6/5 (n / (n - 1) with n = 6, the size of x's axis 0)``, or the number alone."""
    found = origin(c, evidence)
    return f"{number(c)} ({found})" if found else number(c)
