"""The house: who may import whom, as stated in pyproject.toml, and who needs the standard library only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "orchestrator"


def imported_modules(file: Path) -> Iterator[str]:
    """The modules that a file imports, written in full; imports below `if TYPE_CHECKING` count too."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join((*base, *filter(None, [node.module])))


@pytest.mark.parametrize("room", ["domain", "client", "resources.py"])
def test_room_imports_only_itself_and_the_standard_library(room: str) -> None:
    path = PACKAGE / room
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert files
    own = f"orchestrator.{path.stem}"
    hook = PACKAGE / "client" / "sqlalchemy"

    def is_foreign(file: Path, module: str) -> bool:
        root = module.partition(".")[0]
        if root == "sqlalchemy" and file.is_relative_to(hook):
            return False
        return root not in sys.stdlib_module_names and not f"{module}.".startswith(f"{own}.")

    imports = [(file, module) for file in files for module in imported_modules(file)]
    assert [f"{file.relative_to(ROOT)}: {module}" for file, module in imports if is_foreign(file, module)] == []


def printed(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return ran.stdout.strip()


def test_importing_the_client_loads_nothing_else_of_the_program() -> None:
    code = (
        "import sys, orchestrator.client; "
        "print([m for m in sys.modules if m.startswith('orchestrator.') and not m.startswith('orchestrator.client')])"
    )
    assert printed(code) == "[]"


def test_the_driver_of_postgresql_is_loaded_with_the_first_database_of_that_kind() -> None:
    code = (
        "import sys; from orchestrator.dialects import open_database; print('psycopg' in sys.modules); "
        "open_database('cell', 'postgresql://db/cell'); print('psycopg' in sys.modules)"
    )
    assert printed(code).split() == ["False", "True"]


def test_imports_go_downwards_only() -> None:
    command = (str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo")
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
