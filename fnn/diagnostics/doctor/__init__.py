"""The doctor: what keeps a network from learning, by name, and what to do about it."""

from fnn.diagnostics.doctor.diagnosis import Diagnosis, Verdict
from fnn.diagnostics.doctor.examine import CHECKS, doctor
from fnn.diagnostics.doctor.patient import Budget

__all__ = [
    "CHECKS",
    "Budget",
    "Diagnosis",
    "Verdict",
    "doctor",
]
