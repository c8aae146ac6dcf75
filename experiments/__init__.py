"""One script for each claim; `python -m experiments.NAME --help` says what it takes."""
