"""What imports what: the core needs jax and numpy alone, and imports run one way."""

import ast
import subprocess
import sys
from pathlib import Path

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
