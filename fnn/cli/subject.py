"""What a command line names: something importable, and arrays to check it with.

package.module:name            an attribute, dotted if need be
package.module:name(10, "a")   what a factory makes of literal arguments

f32[8,16]      standard normal                    i32[8]<10     integers from 0 to 9
f32[8,16]<1    uniform from 0 to 1                i32[8]        0 or 1
bool[8]        either                             batch.npy     an array that numpy saved
"""

import ast
import importlib
import inspect
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.layer import Layer
from fnn.losses.loss import Loss

Drawn = np.ndarray[Any, Any]

DTYPES: dict[str, Any] = {
    "bool": np.bool_, "bf16": jnp.bfloat16, "f16": np.float16, "f32": np.float32, "f64": np.float64,
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64,
}  # fmt: skip
_SPEC = re.compile(r"(?P<dtype>[a-z]+\d*)(?:\[(?P<shape>[\d,\s]*)\])?(?:<(?P<end>[-+.\w]+))?")


class MisusedError(ValueError):
    """An argument of the command line that names nothing."""


def check_files(**files: Path | None) -> None:
    """Refuse files that cannot be written by these options, before minutes are spent on what goes there.

    Raises:
      MisusedError: a folder is missing, or is what was given.
    """
    for option, path in files.items():
        if path is None:
            continue
        if path.is_dir():
            raise MisusedError(f"--{option}: expected a file, got the folder {str(path)!r}")
        if not path.absolute().parent.is_dir():
            raise MisusedError(
                f"--{option} {path}: no such folder {str(path.parent)!r}; make it first"
            )


def load(text: str) -> Any:
    """The object that `package.module:name` or `package.module:name(literals)` names.

    A Layer or a Loss is taken as it is. What can be called with no arguments and then gives one is its
    factory. Anything else is returned as found.

    Raises:
      MisusedError: no such form, module or name, or arguments that are no literals.
    """
    module_name, colon, expression = text.partition(":")
    if not (module_name and colon and expression):
        raise MisusedError(f"expected package.module:name, got {text!r}")
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise MisusedError(f"expected a name after the colon, got {expression!r}") from error
    call = tree if isinstance(tree, ast.Call) else None
    found = _attribute(_module(module_name), ast.unparse(call.func if call else tree), module_name)
    if call is not None:
        return found(*_literals(call.args), **_keywords(call))
    return _made(found)


def draw(spec: str, rng: np.random.Generator) -> Drawn:
    """The array that a spec stands for: drawn from `rng`, or read from a .npy file.

    Raises:
      MisusedError: the spec is neither, or the file is not there.
    """
    if spec.endswith(".npy"):
        if not Path(spec).is_file():
            raise MisusedError(f"no file {spec!r}")
        return np.load(spec, allow_pickle=False)
    match = _SPEC.fullmatch(spec)
    if match is None or match["dtype"] not in DTYPES:
        raise MisusedError(
            f"expected an array as dtype[shape], such as f32[8,16] or i32[8]<10, or a .npy file, got "
            f"{spec!r}; dtypes are {', '.join(DTYPES)}"
        )
    dtype = DTYPES[match["dtype"]]
    shape = tuple(int(size) for size in (match["shape"] or "").split(",") if size.strip())
    end = None if match["end"] is None else _number(match["end"], spec)
    if jnp.issubdtype(dtype, jnp.floating):
        drawn = rng.standard_normal(shape) if end is None else end * rng.random(shape)
        return np.asarray(drawn, dtype)
    whole = 2 if end is None else int(end)
    if whole < 1:
        raise MisusedError(f"expected integers below 1 or more, got {spec!r}")
    return np.asarray(rng.integers(0, whole, shape), dtype)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MisusedError(
            f"cannot import {name!r} ({error}); the current directory and the installed packages were "
            "searched"
        ) from error


def _attribute(module: Any, dotted: str, module_name: str) -> Any:
    found = module
    for name in dotted.split("."):
        if not hasattr(found, name):
            near = get_close_matches(name, [n for n in dir(found) if not n.startswith("_")])
            hint = f"; close to it: {', '.join(near)}" if near else ""
            raise MisusedError(f"{module_name!r} has no {dotted!r}{hint}")
        found = getattr(found, name)
    return found


def _made(found: Any) -> Any:
    """What a factory without arguments makes, if that is a Layer or a Loss; else `found` itself."""
    if isinstance(found, (Layer, Loss)) or not callable(found):
        return found
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):  # it needs arguments, or does not tell
        return found
    made = found()
    return made if isinstance(made, (Layer, Loss)) else found


def _literals(nodes: list[ast.expr]) -> list[Any]:
    try:
        return [ast.literal_eval(node) for node in nodes]
    except ValueError as error:
        raise MisusedError(
            f"expected literal arguments, got {', '.join(map(ast.unparse, nodes))}"
        ) from error


def _keywords(call: ast.Call) -> dict[str, Any]:
    if any(keyword.arg is None for keyword in call.keywords):
        raise MisusedError(f"expected literal arguments, got {ast.unparse(call)}")
    values = _literals([keyword.value for keyword in call.keywords])
    names = [str(keyword.arg) for keyword in call.keywords]
    return dict(zip(names, values, strict=True))


def _number(text: str, spec: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise MisusedError(f"expected a number after <, got {spec!r}") from error
