"""How the commands' fields are written on a command line: what tyro is told of each."""

from typing import Any

from fnn.extras import require

_TYRO: Any = require("tyro.conf", "cli")

POSITIONAL, REPEATED, OFF = _TYRO.Positional, _TYRO.UseAppendAction, _TYRO.FlagCreatePairsOff
NAME, SPEC, FILE = (_TYRO.arg(metavar=name) for name in ("MODULE:NAME", "SPEC", "FILE"))
