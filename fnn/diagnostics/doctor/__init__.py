"""The doctor: what keeps a network from learning, by name, and what to do about it."""

from fnn.diagnostics.doctor.diagnosis import Diagnosis as Diagnosis
from fnn.diagnostics.doctor.diagnosis import Verdict as Verdict
from fnn.diagnostics.doctor.examine import CHECKS as CHECKS
from fnn.diagnostics.doctor.examine import doctor as doctor
from fnn.diagnostics.doctor.patient import Budget as Budget
