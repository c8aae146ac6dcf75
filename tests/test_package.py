"""What imports what: the core needs jax and numpy alone, and imports run one way."""

import ast
import importlib
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import fnn

ROOT = Path(fnn.__file__).parent
CORE = (
    "layer", "random", "tree", "dtypes", "initializers", "compose", "layers", "losses", "gradient",
    "tables", "tap", "lsuv", "optimizers", "check", "arguments",
)  # fmt: skip
OTHERS = ("rich", "tyro", "matplotlib", "safetensors", "sklearn", "mlxtend", "optax", "pandas")


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(*rooms: str) -> list[Path]:
    return [p for room in rooms for p in [*ROOT.glob(f"{room}.py"), *ROOT.glob(f"{room}/**/*.py")]]


def test_importing_fnn_and_training_needs_jax_and_numpy_alone():
    program = (
        "import sys, fnn, fnn.train, fnn.models, fnn.data, fnn.diagnostics;"
        f"print([m for m in {OTHERS} if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_diagnostics_do_not_load_the_checker_before_a_gradient_is_checked():
    program = (
        "import sys, fnn.diagnostics; print([m for m in sys.modules if m.startswith('fnn.check')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_core_imports_nothing_but_itself_jax_and_numpy():
    rooms = {f"fnn.{room}" for room in CORE}
    checked = files(*CORE)
    assert len(checked) > 30
    for path in checked:
        for name in imported(path):
            top = name.partition(".")[0]
            if top == "fnn":
                assert name == "fnn" or ".".join(name.split(".")[:2]) in rooms, (path, name)
            else:
                assert top in {"jax", "numpy"} | sys.stdlib_module_names, (path, name)


def test_layers_know_nothing_of_what_is_built_on_them():
    for path in files("layer", "random", "compose", "layers", "losses", "initializers"):
        for name in imported(path):
            assert not name.startswith(
                ("fnn.gradient", "fnn.optimizers", "fnn.train", "fnn.check", "fnn.tap")
            ), (path, name)


def test_nothing_in_fnn_imports_the_experiments_or_optax():
    for path in ROOT.rglob("*.py"):
        assert not {n.partition(".")[0] for n in imported(path)} & {"experiments", "optax"}, path


def test_no_file_is_longer_than_a_room():
    for path in [*ROOT.rglob("*.py"), *(ROOT.parent / "experiments").glob("*.py")]:
        assert len(path.read_text().splitlines()) <= 310, path


def test_the_docstring_names_every_room():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"compose"}
    listed = {line[4:36].strip() for line in fnn.__doc__.splitlines() if line.startswith("    ")}
    assert rooms <= {name for line in listed for name in line.split(", ")}


def packages() -> list[Path]:
    """Those with names from elsewhere in fnn."""
    return [
        path
        for path in ROOT.rglob("__init__.py")
        if path.parent.name != "cli" and any(map(_is_ours, ast.parse(path.read_text()).body))
    ]


def _is_ours(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fnn"


@pytest.mark.parametrize("path", packages(), ids=lambda path: path.parent.name)
def test_all_is_what_a_package_has_from_elsewhere(path):
    """`help` lists no function of another module that is not in `__all__`."""
    body = ast.parse(path.read_text()).body
    names = [alias.name for node in body if _is_ours(node) for alias in node.names]
    package = importlib.import_module(".".join(path.parent.relative_to(ROOT.parent).parts))
    assert sorted(package.__all__) == sorted(set(names))
    said = pydoc.plaintext.document(package)
    functions = [n for n in package.__all__ if inspect.isfunction(getattr(package, n))]
    assert [n for n in functions if f"    {n}(" not in said] == []
