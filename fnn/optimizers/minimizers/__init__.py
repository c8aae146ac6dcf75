"""Optimizers that ask for the objective: line searches, second order, sharpness; and `minimize`."""
