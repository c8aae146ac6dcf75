"""Runs that last: checkpoints on disk, signals, and the loop that goes on where it was."""
