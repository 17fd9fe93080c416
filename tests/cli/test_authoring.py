"""`data-migration new`: what it writes loads and teaches, and it overwrites nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator import resources
from orchestrator.data_migrations.loading import load
from tests.cli.conftest import Run

INVENTORY = resources.examples_directory() / "inventory" / "migrations"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of one's own."""
    directory = tmp_path / "shop" / "migrations"
    shutil.copytree(INVENTORY, directory, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


TRANSFORM = ("--table", "customers", "--reads", "name", "--writes", "first_name, last_name")


def test_transform_is_begun(run: Run, tree: Path) -> None:
    manifest = (tree / "releases.toml").read_text()
    said = run("data-migration", "new", str(tree), "halve_name", *TRANSFORM, "--test", str(tree.parent / "test_it.py"))
    assert (said.code, said.err) == (0, "")
    definition = load(tree / "data" / "halve_name.py", "halve_name")
    assert (definition.table, definition.reads, definition.writes) == (
        "customers", ("name",), ("first_name", "last_name"),
    )  # fmt: skip
    assert "class HalveName(DataMigration)" in definition.path.read_text()
    assert f"{tree / 'releases.toml'}:11: let release 2 have this line" in said.out
    assert (tree / "releases.toml").read_text() == manifest


def test_expression_is_begun(run: Run, tree: Path) -> None:
    sql = "(SELECT max(id) FROM statuses WHERE name = \"sold\" AND 'a\\' = '$x')"
    said = run(
        "data-migration", "new", str(tree), "link", "--table", "items",
        "--expression", f"status_id = {sql}", "--expression", "title_upper=upper(title)",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert load(tree / "data" / "link.py", "link").expressions == (("status_id", sql), ("title_upper", "upper(title)"))


@pytest.mark.parametrize("reverse", [False, True])
def test_line_to_add_holds_those_that_are_there(run: Run, tree: Path, reverse: bool) -> None:
    said = run("data-migration", "new", str(tree), "one_more", *TRANSFORM, *(["--reverse"] if reverse else []))
    (line,) = [line for line in said.out.splitlines() if "data_migrations = " in line]
    key = "reverse_data_migrations" if reverse else "data_migrations"
    there = ["join_name", "name_status"] if reverse else ["split_name", "link_status"]
    assert tomllib.loads(line) == {key: [*there, "one_more"]}
    assert ("is_reverse=True" in said.out) is reverse


def test_test_that_is_begun_runs_until_the_author_goes_on(run: Run, tree: Path) -> None:
    test = tree.parent / "tests" / "test_halve_name.py"
    run("data-migration", "new", str(tree), "halve_name", *TRANSFORM, "--test", str(test))
    text = test.read_text()
    insert = '"INSERT INTO customers (...) VALUES (...)"), []'
    assert insert in text
    file = tree / "data" / "halve_name.py"
    body = file.read_text()
    todo = next(line for line in body.splitlines() if "NotImplementedError" in line)
    done = 'first, _, last = (row["name"] or "").partition(" "); return {"first_name": first, "last_name": last}'
    file.write_text(body.replace(todo, f"        {done}"))
    rows = "\"INSERT INTO customers (name) VALUES (:name)\"), [{'name': f'A{n} B'} for n in range(9)]"
    update = "connection.execute(sa.text(\"UPDATE customers SET name = 'X Y'{} WHERE id = 3\"))"
    both = update.format(", first_name = 'X', last_name = 'Y'")
    one, two, three = text.replace(insert, rows).split("raise NotImplementedError")
    test.write_text(one + update.format("") + two + both + three)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        capture_output=True, text=True, check=False, cwd=test.parent, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


def test_test_is_printed_where_nobody_asked_for_a_file(run: Run, tree: Path) -> None:
    said = run("data-migration", "new", str(tree), "halve_name", *TRANSFORM)
    test = said.out.partition("would have written it):\n")[2]
    compile(test, "test_halve_name.py", "exec")
    assert 'expand(url, MIGRATIONS, "2")' in test
    assert 'in_step_by="client"' in test


def test_nothing_is_overwritten(run: Run, tree: Path) -> None:
    file = tree / "data" / "split_name.py"
    before = file.read_text()
    said = run("data-migration", "new", str(tree), "split_name", *TRANSFORM)
    assert (said.code, said.out) == (1, "")
    assert f"{file} is there already" in said.err
    assert file.read_text() == before
    test = tree / "test_it.py"
    test.write_text("mine")
    said = run("data-migration", "new", str(tree), "other", *TRANSFORM, "--test", str(test))
    assert said.code == 1
    assert test.read_text() == "mine"
    assert not (tree / "data" / "other.py").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("2nd", *TRANSFORM), "cannot be the name of a Python module"),
        (("class", *TRANSFORM), "cannot be the name of a Python module"),
        (("split-name", *TRANSFORM), "cannot be the name of a Python module"),
        (("../evil", *TRANSFORM), "cannot be the name of a Python module"),
        (("a" * 65, *TRANSFORM), "64 characters"),
        (("fine", "--table", "t"), "either --expression COLUMN=SQL, or both"),
        (("fine", *TRANSFORM, "--expression", "a=b"), "either --expression COLUMN=SQL, or both"),
        (("fine", "--table", "t", "--reads", "a"), "needs both"),
        (("fine", "--table", "t", "--reads", "a,b", "--writes", "b"), "b cannot be read and written"),
        (("fine", "--table", "t", "--expression", "a=upper(a)"), "a cannot be read and written"),
        (("fine", "--table", "t", "--expression", "upper(a)"), "is not COLUMN=SQL"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(run: Run, tree: Path, words: tuple[str, ...], says: str) -> None:
    before = sorted(tree.rglob("*"))
    said = run("data-migration", "new", str(tree), *words)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert sorted(tree.rglob("*")) == before


def test_schema_is_found_by_its_configuration(run: Run, tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.conf"
    file.write_text(
        "[orchestrator]\nschemas = shop\nstate_dir = state\n"
        f"[schema:shop]\nmigrations = {tree}\nconnection = sqlite:///{tmp_path}/shop.sqlite\n"
    )
    said = run("data-migration", "new", "shop", "halve_name", *TRANSFORM, "--config-file", str(file))
    assert said.code == 0, said.err
    assert (tree / "data" / "halve_name.py").exists()
    said = run("data-migration", "new", "shoq", "halve_name", *TRANSFORM, "--config-file", str(file))
    assert said.code == 1
    assert "It manages: shop." in said.err


def test_directory_that_is_none_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for place, says in ((str(tmp_path / "none"), "there is no directory"), (str(tmp_path), "releases.toml")):
        said = run("data-migration", "new", place, "halve_name", *TRANSFORM)
        assert said.code == 1
        assert says in said.err
    assert list(tmp_path.iterdir()) == []
