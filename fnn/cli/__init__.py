"""The `fnn` command: thin over the library, one file a subcommand, and exit statuses for a gate.

    fnn check package.module:name --input f32[8,16]         is its gradient right?
    fnn mutation package.module:name --input f32[8,16]      would a fault in it be found?
    fnn doctor package.module:name --data digits --loss …   what keeps it from learning?

0: what was asked holds. 1: it does not. 2: it could not be asked (arguments, imports, a subject that
cannot run), with the reason on standard error.
"""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from fnn.extras import require

# Of the note that jax adds to what is raised within it, about frames of a traceback that is not shown.
_JAX_FOOTER = "JAX has removed its internal frames"
RIGHT, WRONG, UNANSWERED = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. `argv` is `sys.argv[1:]` if it is not given.

    Raises:
      SystemExit: the arguments do not parse (2), or help was asked for (0).
    """
    try:
        tyro = require("tyro", "cli")
        from fnn.cli.check import Check  # their annotations are tyro's
        from fnn.cli.doctor import Doctor
        from fnn.cli.mutation import Mutation
        from fnn.cli.subject import MisusedError
    except ImportError as error:
        print(f"fnn: {error}", file=sys.stderr)
        return UNANSWERED

    command = tyro.extras.subcommand_cli_from_dict(
        {"check": Check, "mutation": Mutation, "doctor": Doctor},
        prog="fnn",
        args=argv,
        description="Proofs of gradients, and a doctor for networks, from a shell.",
    )
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return RIGHT if command.run() else WRONG
    # Whatever stops a command is its answer to the shell that called it, and says so there.
    except Exception as error:
        if command.traceback:
            traceback.print_exc()
        kind = "" if isinstance(error, MisusedError) else f"{type(error).__name__}: "
        hint = [] if command.traceback or not kind else ["(--traceback shows where)"]
        notes = [note for note in getattr(error, "__notes__", ()) if _JAX_FOOTER not in note]
        lines = [f"fnn {command.name}: {kind}{error}", *notes, *hint]
        print("\n  ".join(lines), file=sys.stderr)
        return UNANSWERED
