"""What is likely wrong with a gradient: the fault that the evidence fits, in one sentence.

    diagnose(trial, row)    -> str     for one failing row; "" where no hypothesis fits
    explained(trial, rows)  -> rows    with `Row.likely` filled in, once a leaf

A hypothesis is a formula for the wrong gradient h in terms of the right one g, dy and what the pass
sees. It is accepted if it gives h on every probe of the trial (of a leaf of more than 300,000 elements,
on the normal one) and on two that nobody has seen:

    ‖formula − h‖ <= 1e-8 · ‖h − g‖        over all elements and probes together

(or within rounding of h, where the fault itself is nearly as small), so that a sentence is a measured
statement and not a guess. The hypotheses are asked in order, the most specific first:

    structure       an axis, a dtype or a leaf too many or too few; a sum left out
    whole gradient  NaN, zero, constant factor, no upstream gradient, another leaf's, transposed, moved
    parts of dy     an example dropped, one example for the sum of all
    elements        wrong in one slice, or only where x > 0, y = 0, …; clipped; rounded to float32
    terms           a factor, a term or a pair of terms made of dy, x, y, params, state and cache
    other points    right for the transposed weight, or only where a leaf is symmetric, 1 or 0
"""

from fnn.check.diagnosis.diagnose import diagnose, explained

__all__ = [
    "diagnose",
    "explained",
]
