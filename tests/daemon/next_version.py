"""The next version of this program, made from this one: it knows one more release of each tree of our own tables.

Its release 2 of the state tables counts writes of a schema's row in `joins` instead of `writes`; of the bookkeeping, it
writes no time into a copy any more. So this version cannot live on what the next one has contracted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import orchestrator
from orchestrator.resources import state_migrations_directory

VERSION = "99.0.0"

REVISION = '''"""{summary}"""

import sqlalchemy as sa
from alembic import op

revision = "{identifier}"
down_revision = {after}
branch_labels = {label}
depends_on = {depends_on}


def upgrade() -> None:
    {body}
'''

COUNT_JOINS = (
    'op.add_column("schemas", sa.Column("joins", sa.BigInteger(), server_default="0", nullable=False))',
    'op.drop_column("schemas", "writes")',
)
WRITE_NO_TIME = (
    'with op.batch_alter_table("orchestrator_copies") as copies:\n'
    '        copies.alter_column("written_at", existing_type=sa.Double(), nullable=True)',
    'op.drop_column("orchestrator_copies", "written_at")',
)

CHANGES = {
    "__init__.py": [(f'__version__ = "{orchestrator.__version__}"', f'__version__ = "{VERSION}"')],
    "store/tables.py": [
        (
            'Column("writes", BigInteger, nullable=False, server_default="0"),  # grows with every join',
            'Column("joins", BigInteger, nullable=False, server_default="0"),  # grows with every join',
        ),
    ],
    "store/statements.py": [
        (
            ".values(writes=kind.table.c.writes + 1)",
            '.values({each: each + 1 for each in kind.table.c if each.name in ("joins", "writes")})',
        ),
    ],
    "bookkeeping/tables.py": [('    Column("written_at", Double, nullable=False),\n', "")],
    "bookkeeping/copies.py": [('        "written_at": now,\n', ""), ("        row.written_at,\n", "")],
}


def make(directory: Path) -> Mapping[str, str]:
    """Make the next version in that directory. Returns the environment that runs it instead of this one."""
    package = directory / "orchestrator"
    shutil.copytree(Path(orchestrator.__file__).parent, package)
    shutil.copytree(state_migrations_directory(), directory / "migrations")
    for name, changes in CHANGES.items():
        text = (package / name).read_text()
        for before, after in changes:
            assert text.count(before) == 1, f"{name} has changed: {before}"
            text = text.replace(before, after)
        (package / name).write_text(text)
    add_release(directory / "migrations", "state", *COUNT_JOINS)
    add_release(package / "bookkeeping" / "migrations", "bookkeeping", *WRITE_NO_TIME)
    return {"PYTHONPATH": str(directory), "PYTHONSAFEPATH": "1"}


def add_release(tree: Path, name: str, expand: str, contract: str) -> None:
    """Add a release to one of our own trees."""
    manifest = tree / "releases.toml"
    newest = sorted((tree / "expand").glob("*.py"))[-1].stem
    _revision(tree, "expand", f"{name}_next", f'"{newest}"', "None", "None", expand)
    _revision(tree, "contract", f"{name}_next_contract", "None", '("contract",)', f'"{name}_next"', contract)
    text = f'\n[[release]]\nname = "next"\nexpand = "{name}_next"\ncontract = "{name}_next_contract"\n'
    manifest.write_text(manifest.read_text() + text)


def _revision(tree: Path, stage: str, identifier: str, after: str, label: str, depends_on: str, body: str) -> None:
    (tree / stage).mkdir(exist_ok=True)
    written = REVISION.format(
        summary=f"{stage} to the next release",
        identifier=identifier,
        after=after,
        label=label,
        depends_on=depends_on,
        body=body,
    )
    (tree / stage / f"{identifier}.py").write_text(written)
