"""Optional packages, imported only where they are used.

The core of fnn needs jax and numpy. Whatever needs more (plots, tables, saved files, packaged data)
asks for it here, so that a missing package is always reported with the command that installs it.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """The imported `module`, which the extra `extra` of fnn installs.

    Args:
        module: its import name, dotted if need be (`safetensors.numpy`).
        extra: the extra of `pyproject.toml` that brings it (`experiments`).

    Raises:
        ImportError: it cannot be imported. The message holds the install command, and the cause
            when the package is there but broken.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(_mend(module, extra, str(error)), name=module) from error


def package_folder(package: str, extra: str) -> Path:
    """The folder of an installed top-level package, found without importing it.

    For packages whose data files we read and whose code we do not run: importing them can cost
    more than a second.

    Raises:
        ImportError: it is not installed, or it is a single file. The message holds the install
            command.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(_mend(package, extra, "no such package"), name=package)
    return Path(spec.submodule_search_locations[0])


def install_command(extra: str) -> str:
    """What to type for an extra, with fnn installed or in a checkout of it."""
    return f'pip install "fnn[{extra}]", or in a checkout: pip install -e ".[{extra}]"'


def _mend(module: str, extra: str, reason: str) -> str:
    return (
        f"the optional module {module!r} is needed here and could not be imported ({reason}); "
        f"install it with: {install_command(extra)}"
    )
