"""The commands that ask no daemon: checks, the sample, our own tables, serving."""

import shutil
from pathlib import Path

import pytest

from orchestrator import resources
from orchestrator.conf import Settings
from tests.cli.conftest import Run

INVENTORY = resources.examples_directory() / "inventory" / "migrations"


@pytest.fixture
def configuration(tmp_path: Path, sqlite_url: str) -> Path:
    """A configuration that manages the example."""
    file = tmp_path / "orchestrator.conf"
    file.write_text(
        "[orchestrator]\nschemas = inventory\nstate_dir = state\n"
        f"[schema:inventory]\nmigrations = {INVENTORY}\nconnection = {sqlite_url}\n"
    )
    return file


def test_a_usable_configuration_is_said_to_be_one(run: Run, configuration: Path) -> None:
    said = run("config", "check", "--config-file", str(configuration))
    assert (said.code, said.err) == (0, "")
    assert "inventory (1 database)" in said.out


@pytest.mark.parametrize("command", [("serve",), ("config", "check"), ("db", "migrate")])
def test_help_page_and_refusal_say_where_a_configuration_is_looked_for(
    run: Run, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for said in (run(*command, "--help").out, run(*command).err, page.replace("`", "")):
        assert "orchestrator.conf in ~/.orchestrator, ~, /etc/orchestrator and /etc" in " ".join(said.split())


def test_a_configuration_that_cannot_be_used_is_refused_with_its_line(run: Run, configuration: Path) -> None:
    configuration.write_text(configuration.read_text() + "drivr = alembic\n")
    said = run("config", "check", "--config-file", str(configuration))
    assert (said.code, said.out) == (1, "")
    assert f"{configuration}:7: [schema:inventory] has no option drivr" in said.err
    assert "Did you mean driver?" in said.err


def test_a_check_names_everything_that_is_wrong_beyond_the_file(run: Run, configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "tokens").write_text("only two\n")
    text = configuration.read_text().replace(str(INVENTORY), "empty").replace("sqlite:///", "oracle:///")
    configuration.write_text(text + "[api]\ntokens_file = tokens\n")
    said = run("config", "check", "--config-file", str(configuration))
    assert said.code == 1
    for words in ("tokens", f"{configuration}:6: database inventory is of kind 'oracle'", "releases.toml"):
        assert words in said.err


def test_a_check_refuses_what_the_daemon_would_refuse(run: Run, configuration: Path) -> None:
    text = configuration.read_text()
    for more, words in (
        ("waves = inventory-apy\n", "the waves of schema inventory name a fleet inventory-apy"),
        ("roles = nova_old: 1\n", "a file of SQLite has no roles"),
        ("[inventory:inventory:inventory-workr]\nquery = SELECT 1\n", "no release of inventory lists a fleet"),
    ):
        configuration.write_text(text + more)
        said = run("config", "check", "--config-file", str(configuration))
        assert (said.code, said.out) == (1, ""), more
        assert words in said.err


def test_a_missing_configuration_file_says_how_to_begin(run: Run) -> None:
    for verb in (("serve",), ("db", "migrate"), ("config", "check")):
        said = run(*verb, "--config-file", "/no/such.conf")
        assert said.code == 1
        assert "/no/such.conf" in said.err
        assert "orchestrator config sample" in said.err


def test_the_sample_is_the_packaged_one(run: Run) -> None:
    assert run("config", "sample").out == resources.sample_configuration().read_text()


def test_our_own_tables_are_made_and_may_be_made_again(run: Run, configuration: Path, tmp_path: Path) -> None:
    for _ in range(2):
        said = run("db", "migrate", "--config-file", str(configuration))
        assert said.code == 0, said.err
        assert "up to date" in said.out
    assert (tmp_path / "state" / "orchestrator.sqlite").exists()


def test_serve_gives_the_daemon_its_settings_and_returns_its_exit_code(
    run: Run, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Settings] = []

    def serve(settings: Settings) -> int:
        served.append(settings)
        return 7

    monkeypatch.setattr("orchestrator.daemon.serve.serve", serve)
    assert run("serve", "--config-file", str(configuration)).code == 7
    assert served[0].config_files == (configuration,)


def test_a_sound_tree_passes_the_check(run: Run) -> None:
    said = run("schema", "check", str(INVENTORY))
    assert said.code == 0
    assert "release 2: nothing breaks a rule" in said.out


def test_a_tree_that_breaks_a_rule_is_refused_with_file_and_line(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "migrations"
    shutil.copytree(INVENTORY, tree, ignore=shutil.ignore_patterns("__pycache__"))
    changed = sorted((tree / "expand").glob("*.py"))[-1]
    text = changed.read_text()
    body = text.index("\n", text.index("def upgrade()")) + 1
    changed.write_text(text[:body] + '    op.drop_column("customers", "name")\n' + text[body:])
    said = run("schema", "check", str(tree))
    assert said.code == 1
    assert changed.name in said.err


@pytest.mark.parametrize("name", ["split_name", "join_name"])  # there, and on the way back
def test_a_data_migration_that_cannot_be_used_is_refused_by_the_check(run: Run, tmp_path: Path, name: str) -> None:
    tree = tmp_path / "migrations"
    shutil.copytree(INVENTORY, tree, ignore=shutil.ignore_patterns("__pycache__"))
    file = tree / "data" / f"{name}.py"
    file.write_text(file.read_text().replace("def transform(", "def transfrom("))
    said = run("schema", "check", str(tree))
    assert said.code == 1
    assert str(file) in said.err
    assert "neither expressions nor a transform" in said.err


def test_an_order_of_data_migrations_that_is_none_is_refused_by_the_check(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "migrations"
    shutil.copytree(INVENTORY, tree, ignore=shutil.ignore_patterns("__pycache__"))
    file = tree / "data" / "split_name.py"
    file.write_text(file.read_text().replace("    table =", '    after = ("no_such",)\n    table ='))
    said = run("schema", "check", str(tree))
    assert said.code == 1
    assert str(file) in said.err
    assert "data_migration_order" in said.err


def test_a_column_that_the_tree_does_not_make_is_refused_by_the_check(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "migrations"
    shutil.copytree(INVENTORY, tree, ignore=shutil.ignore_patterns("__pycache__"))
    file = tree / "data" / "split_name.py"
    file.write_text(file.read_text().replace('"first_name"', '"forename"'))
    said = run("schema", "check", str(tree))
    assert said.code == 1
    assert str(file) in said.err
    assert "customers does not have when its release is expanded: forename" in said.err


def test_checking_a_release_that_does_not_exist_is_an_error(run: Run) -> None:
    said = run("schema", "check", str(INVENTORY), "--release", "99")
    assert said.code == 1
    assert "99" in said.err


def test_checking_a_directory_that_is_none_is_an_error(run: Run, tmp_path: Path) -> None:
    said = run("schema", "check", str(tmp_path))
    assert said.code == 1
    assert "releases.toml" in said.err


def test_the_demo_is_given_its_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import orchestrator.demo

    asked: list[orchestrator.demo.DemoOptions] = []

    def run_demo(options: orchestrator.demo.DemoOptions) -> int:
        asked.append(options)
        return 1

    monkeypatch.setattr(orchestrator.demo, "run_demo", run_demo)
    assert run("demo", "--rows", "10", "--database", "postgresql", "--json", "out.json").code == 1
    assert asked == [
        orchestrator.demo.DemoOptions(
            database=orchestrator.demo.DatabaseKind.POSTGRESQL, rows=10, keep=False, json_file=Path("out.json")
        )
    ]
