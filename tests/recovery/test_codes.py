"""Every code that can stand in `orchestrator status` is on a page for people: a new one that is not fails here.

Such a code is that of a blocker, of a step, or of a database that cannot be read. What other commands and requests
refuse is answered to whoever asked, with its remedy.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import orchestrator
from orchestrator.domain import errors
from orchestrator.domain.errors import OrchestratorError
from tests.recovery.entries import ENTRIES, PAGE

PROGRAM = Path(orchestrator.__file__).parent
REACH_STATUS = ("bookkeeping", "daemon", "data_migrations", "dialects", "domain/guards", "domain/planner.py",
                "schema_migrations", "cli/status.py")  # fmt: skip
"""Where blockers are made, and whatever a step, or a look at a database, may raise."""

READ_AT_THE_START = (
    "daemon/composition.py",
    "daemon/throttles.py",
    "schema_migrations/manifest.py",
    "schema_migrations/preset.py",
    "schema_migrations/tree.py",
)
"""What these refuse keeps a daemon from starting: an entry of recovery.md of its own."""

ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, OrchestratorError)}

COMPUTED = {
    "schema_migrations/step_plan.py: f'{revision.stage.value}_in_{stage.value}'": (
        "expand_in_contract", "contract_in_expand",
    ),
    "schema_migrations/phase_guard.py: f'not_in_{revision.stage.value}'": ("not_in_expand", "not_in_contract"),
    "domain/guards/inventories_support.py: code": ("inventory_unreadable", "inventory_stale"),
    "data_migrations/target.py: code": ("data_migration_expression", "column_not_comparable"),
    "schema_migrations/old_shape.py: code": (
        "old_shape_missing", "old_shape_view", "old_shape_inherited", "old_shape_no_table",
    ),
}  # fmt: skip
"""Codes that are not written out where the error is made."""

START = "a daemon with such a configuration does not start"
ASKED = "whoever asked is told, with the remedy"
SENTENCE = "its sentence is a part of another one"
NEVER = "work that is tried again, or belongs to somebody else by now"

ELSEWHERE = {
    START: (
        "address_unusable", "database_unsupported", "database_url_invalid", "preset_missing", "role_own",
        "roles_unknown",
    ),
    ASKED: (
        "catalog_differs", "data_migration_not_stopped", "data_migration_unknown", "database_not_empty",
        "not_at_release", "too_many_connections", "verification_refused",
    ),
    SENTENCE: (
        "accounts_hidden", "data_migration_statement", "function_ended", "function_no_progress", "function_not_started",
        "function_raised", "function_timeout", "member_unreachable", "row_unreadable", "rows_not_read",
        "rows_not_written", "session_ending", "session_stays", "step_waits", "transform_column_missing",
        "transform_column_unknown", "transform_column_unread", "transform_raised", "transform_result",
        "transform_unsteady",
    ),
    NEVER: (
        "batch_claimed", "batch_too_soon", "data_migration_waits", "function_in_vain", "function_under_way",
        "lost_cursor", "not_in_backfill",
    ),
}  # fmt: skip
"""Codes that never stand in status, and why."""

NOT_IN_STATUS = {code for codes in ELSEWHERE.values() for code in codes}


@cache
def made() -> tuple[tuple[str, str], ...]:
    """Every code that can stand in status, with its file."""
    return tuple(sorted(set(_made())))


def _made() -> Iterator[tuple[str, str]]:
    """Each code that is made there, with its file. A code that is computed must be known here."""
    files = [file for name in REACH_STATUS for file in sorted([PROGRAM / name, *(PROGRAM / name).rglob("*.py")])]
    trees = {
        file: ast.parse(file.read_text()) for file in files if file.is_file() and _place(file) not in READ_AT_THE_START
    }
    everywhere = {name: at for tree in trees.values() for name, (at, _) in _makers(tree).items()}
    for file, tree in trees.items():
        where, own = _place(file), _makers(tree)
        makers = dict.fromkeys((*ERRORS, "Blocker"), 0)
        makers |= {name: everywhere[name] for name in _imported(tree) if name in everywhere}
        makers |= {name: at for name, (at, _) in own.items()}
        handed_on = {id(call) for _, maker in own.values() for call in ast.walk(maker)}
        for node in ast.walk(tree):
            at = makers.get(_name(node.func)) if isinstance(node, ast.Call) else None
            if at is None or not isinstance(node, ast.Call) or len(node.args) <= at:
                continue
            code, said = node.args[at], f"{where}: {ast.unparse(node.args[at])}"
            if isinstance(code, ast.Constant):
                yield str(code.value), where
            elif id(node) not in handed_on and not isinstance(code, ast.Attribute):  # that is another error's code
                assert said in COMPUTED, f"{where}:{node.lineno}: say in COMPUTED which codes these are"
                yield from ((each, where) for each in COMPUTED[said])


def _place(file: Path) -> str:
    return str(file.relative_to(PROGRAM))


def _makers(tree: ast.AST) -> dict[str, tuple[int, ast.FunctionDef]]:
    """Functions that are given a code, and as which of their arguments."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    names = {each: [arg.arg for arg in each.args.args if arg.arg not in ("self", "cls")] for each in functions}
    return {each.name: (names[each].index("code"), each) for each in functions if "code" in names[each]}


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (each.name for each in node.names)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def told() -> set[str]:
    """Every code that the two pages name."""
    pages = (PAGE, PAGE.with_name("operating.md"))
    return {code for page in pages for code in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", page.read_text())}


def test_every_code_is_told_to_people() -> None:
    untold = {f"{code} of {file}" for code, file in made() if code not in told() | NOT_IN_STATUS}
    assert not untold, "neither in docs/recovery.md nor in docs/operating.md, with what it means and what clears it"


def test_what_is_said_never_to_stand_in_status_is_made_somewhere() -> None:
    assert {code for code, _ in made()} >= NOT_IN_STATUS


def test_codes_of_the_entries_are_made_somewhere() -> None:
    """Those of blockers, steps and databases, of refusals to whoever steers, and of what ends a command."""
    others = {
        "daemon_evicted", "no_way_back", "old_shape_stale", "option_unknown", "state_database_unavailable",
        "told_unproven",
    }  # fmt: skip
    assert {code for entry in ENTRIES.values() for code in entry.codes} <= {code for code, _ in made()} | others


def test_no_code_has_two_rows() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.with_name("operating.md").read_text(), re.MULTILINE)
    codes = [code for row in rows for code in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", row)]
    assert [code for code, number in Counter(codes).items() if number > 1] == []
