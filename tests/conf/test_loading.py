"""Loading a configuration: what it comes to, and that every refusal names the place and the remedy."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.conf import Settings, find_config_files, load
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.ladder import Phase
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.waves import EVERYBODY_AT_ONCE, Canary, Waves

Write = Callable[[str], Path]

MINIMAL = """\
[orchestrator]
schemas = inventory
state_dir = state

[schema:inventory]
migrations = migrations
connection = sqlite:////tmp/inventory.sqlite
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file beside a directory `migrations`."""
    (tmp_path / "migrations").mkdir()

    def write(text: str) -> Path:
        file = tmp_path / "orchestrator.conf"
        file.write_text(dedent(text))
        return file

    return write


def refusal(file: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load([file])
    error = caught.value
    assert error.remedy, "every refusal has a remedy"
    return error


def test_a_minimal_configuration_has_every_default(write: Write, tmp_path: Path) -> None:
    settings = load([write(MINIMAL)])
    assert settings.config_files == (tmp_path / "orchestrator.conf",)
    assert settings.state_connection == f"sqlite:///{tmp_path}/state/orchestrator.sqlite"
    assert (settings.bind, settings.port, settings.tokens_file) == ("127.0.0.1", 8776, None)
    assert (settings.lease_ttl_seconds, settings.lease_renew_seconds) == (60.0, 20.0)
    assert (settings.cycle_seconds, settings.parallel, settings.leadership_ttl_seconds) == (1.0, 8, 10.0)
    assert settings.batch_pause_seconds == 0.0
    (schema,) = settings.schemas
    assert schema.name == "inventory"
    assert schema.batches == BatchSizes(least=10, most=100_000, seconds=0.2, most_bytes=16 * 2**20)
    assert [(each.name, each.connection) for each in schema.databases] == [
        ("inventory", "sqlite:////tmp/inventory.sqlite")
    ]
    assert (schema.driver, schema.version_table, schema.approve, schema.soak_seconds) == (
        "alembic",
        "alembic_version",
        (Phase.CONTRACTED,),
        0.0,
    )


def test_relative_paths_count_from_the_file_that_names_them(write: Write, tmp_path: Path) -> None:
    settings = load([write(MINIMAL)])
    assert settings.schemas[0].migrations == tmp_path / "migrations"
    assert settings.state_dir == tmp_path / "state"


def test_databases_keep_the_order_of_the_configuration(write: Write) -> None:
    settings = load(
        [
            write(
                """\
                [orchestrator]
                schemas = nova_cell
                [database:nova_cell:a]
                connection = sqlite:////a
                [schema:nova_cell]
                migrations = migrations
                databases = b, a
                [database:nova_cell:b]
                connection = sqlite:////b
                """
            )
        ]
    )
    assert [each.name for each in settings.schemas[0].databases] == ["b", "a"]


def test_a_schema_overrides_the_sites_policy(write: Write) -> None:
    text = MINIMAL + "approve = contracted, write_new\nsoak_seconds = 5\n[policy]\napprove =\nsoak_seconds = 9\n"
    assert load([write(text)]).schemas[0].end_idle_blockers_after_seconds is None
    text += "end_idle_blockers_after_seconds = 300\n"
    assert load([write(text)]).schemas[0].end_idle_blockers_after_seconds == 300
    schema = load([write(text)]).schemas[0]
    assert (schema.approve, schema.soak_seconds) == ((Phase.WRITE_NEW, Phase.CONTRACTED), 5.0)
    schema = load([write(MINIMAL + "[policy]\napprove =\nsoak_seconds = 9\n")]).schemas[0]
    assert (schema.approve, schema.soak_seconds) == ((), 9.0)


def test_sizes_of_batches_are_the_schemas_or_else_the_sites(write: Write) -> None:
    site = "[data_migrations]\nbatch_seconds = 0.5\nbatch_rows = 400\nmin_batch_rows = 40\n"
    assert load([write(MINIMAL + site)]).schemas[0].batches == BatchSizes(40, 400, 0.5, 16 * 2**20)
    own = MINIMAL + "batch_seconds = 0.1\nbatch_rows = 40\n" + site
    assert load([write(own)]).schemas[0].batches == BatchSizes(40, 40, 0.1, 16 * 2**20)


def test_few_rows_at_the_most_need_no_word_on_the_least(write: Write) -> None:
    settings = load([write(MINIMAL + "batch_rows = 3\n")])
    assert settings.schemas[0].batches == BatchSizes(3, 3, 0.2, 16 * 2**20)


@pytest.mark.parametrize("least_in", ["", "[data_migrations]\n"])
def test_more_rows_at_the_least_than_at_the_most_are_refused_where_they_stand(write: Write, least_in: str) -> None:
    error = refusal(write(MINIMAL + f"batch_rows = 20\n{least_in}min_batch_rows = 30\n"))
    assert error.code == "option_value_invalid"
    assert "min_batch_rows: a batch has at most 20 rows" in error.message
    assert error.fields["line"] == (MINIMAL + f"batch_rows = 20\n{least_in}").count("\n") + 1


def test_waves_are_the_schemas_or_else_the_sites(write: Write) -> None:
    assert load([write(MINIMAL)]).schemas[0].waves == EVERYBODY_AT_ONCE
    site = "[policy]\nwaves = api; worker\ncanary = 10%\nwave_soak_seconds = 60\n"
    schema = load([write(MINIMAL + site)]).schemas[0]
    assert schema.waves == Waves((("api",), ("worker",)), Canary(percent=10.0), 60.0)
    own = MINIMAL + "waves = worker; api, mailer\ncanary = 2\nwave_soak_seconds = 0\n" + site
    assert load([write(own)]).schemas[0].waves == Waves((("worker",), ("api", "mailer")), Canary(2), 0.0)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("waves = api;; worker", "has a wave or a fleet without a name"),
        ("waves = api; worker, api", "the fleet api stands in it twice"),
        ("canary = 150%", "no number of instances"),
    ],
)
def test_waves_that_cannot_be_used_are_refused_where_they_stand(write: Write, line: str, says: str) -> None:
    error = refusal(write(MINIMAL + line + "\n"))
    assert error.code == "option_value_invalid" and says in error.message
    assert "orchestrator.conf:8" in error.message


def test_leases_are_renewed_thrice_in_their_time_unless_said_otherwise(write: Write) -> None:
    assert load([write(MINIMAL + "[leases]\nttl_seconds = 6\n")]).lease_renew_seconds == 2.0


def test_a_command_schema_carries_what_its_tool_needs(write: Write, tmp_path: Path) -> None:
    text = MINIMAL + (
        "driver = command\npreset = keystone\ncommand_prefix = docker exec 'key stone'\n"
        "config_file = keystone.conf\nenvironment = LANG=C\nenvironment = OPTS=a=b\n"
    )
    schema = load([write(text)]).schemas[0]
    assert (schema.driver, schema.preset) == ("command", "keystone")
    assert schema.command_prefix == ("docker", "exec", "key stone")
    assert schema.config_file == tmp_path / "keystone.conf"
    assert schema.environment == (("LANG", "C"), ("OPTS", "a=b"))


def test_a_later_file_overrides_an_earlier_one(write: Write, tmp_path: Path) -> None:
    site = tmp_path / "site.conf"
    site.write_text("[api]\nport = 9000\n")
    assert load([write(MINIMAL + "[api]\nport = 8000\n"), site]).port == 9000


def test_the_environment_may_hold_what_a_file_should_not(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_DATABASE__CONNECTION", "postgresql://u:secret@db/state")
    assert load([write(MINIMAL)]).state_connection == "postgresql://u:secret@db/state"


def test_a_dollar_sign_is_written_twice(write: Write) -> None:
    file = write(MINIMAL + "[database]\nconnection = postgresql://u:a$$b@db/state\n")
    assert load([file]).state_connection == "postgresql://u:a$b@db/state"


def test_passwords_are_not_shown_with_the_settings(write: Write) -> None:
    text = MINIMAL.replace("sqlite:////tmp/inventory.sqlite", "postgresql://u:secret@db/x")
    settings: Settings = load([write(text + "[database]\nconnection = postgresql://u:secret@db/state\n")])
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("addition", "line", "code", "words"),
    [
        ("[api]\nprot = 1\n", 9, "option_unknown", ("[api] has no option prot", "Did you mean port?")),
        ("[apis]\nport = 1\n", 8, "section_unknown", ("[apis]", "Did you mean api?")),
        ("[api]\nsoak_seconds = 1\n", 9, "option_unknown", ("soak_seconds", "It belongs in [policy]")),
        ("[schema:inventroy]\ndriver = alembic\n", 8, "section_unknown", ("Did you mean [schema:inventory]?",)),
        ("[schema:other]\ndriver = alembic\n", 8, "section_unknown", ("add other to [orchestrator] schemas",)),
        ("[database:inventory:a]\nconnection = x\n", 8, "section_unknown", ("[database:SCHEMA:DATABASE]",)),
        ("[api]\nport = many\n", 9, "option_value_invalid", ("[api] port", "Give a port number.")),
        ("[api]\nport = 70000\n", 9, "option_value_invalid", ("[api] port", "65535")),
        ("[api]\nport = 1\nport = 2\n", 10, "option_repeated", ("line 9",)),
        ("[api]\nbind = 0.0.0.0\n", 9, "bind_needs_authentication", ("0.0.0.0", "tokens_file")),
        ("[api]\nbind = db.example.org\n", 9, "bind_needs_authentication", ("db.example.org",)),
        ("[api]\ntokens_file = nowhere\n", 9, "file_missing", ("nowhere", "token new")),
        ("[policy]\napprove = contract\n", 9, "phase_unknown", ("'contract'", "Did you mean contracted?")),
        ("[policy]\napprove = read_new\n", 9, "phase_unknown", ("These can: write_new, sealed, contracted.",)),
        ("[api]\nport = 80 # http\n", 9, "option_value_invalid", ("A comment needs a line of its own.",)),
        ("[policy]\napprove = backfill\n", 9, "phase_unknown", ("write_new, sealed, contracted",)),
        ("[leases]\nrenew_seconds = 50\n", 9, "option_value_invalid", ("no second chance", "Give 20")),
        ("[leadership]\nttl_seconds = 1\n", 9, "option_value_invalid", ("interval_seconds",)),
        ("[DEFAULT]\nuse_stdrr = true\n", 9, "option_unknown", ("Did you mean use_stderr?",)),
        ("[DEFAULT]\ndebug = perhaps\n", 9, "option_value_invalid", ("debug",)),
        ("driver = commnd\n", 8, "option_value_invalid", ("driver", "command")),
        ("preset = keystone\n", 8, "option_without_effect", ("driver = alembic",)),
        ("databases = a\n[database:inventory:a]\nconnection = x\n", 7, "option_ambiguous", ("belongs to none",)),
        ("driver = command\npreset = ./no.toml\n", 9, "file_missing", ("no.toml",)),
        ("driver = command\npreset = x\ncommand_prefix = a 'b\n", 10, "option_value_invalid", ("words",)),
        ("driver = command\npreset = x\nenvironment = LANG\n", 10, "option_value_invalid", ("NAME=VALUE",)),
        ("driver = command\n", 5, "option_missing", ("no option preset",)),
        ("this is no option\n", 8, "config_line_invalid", ("no option and no section",)),
    ],
)
def test_what_cannot_be_used_is_refused_with_place_and_remedy(
    write: Write, addition: str, line: int, code: str, words: tuple[str, ...]
) -> None:
    file = write(MINIMAL + addition)
    error = refusal(file)
    assert error.code == code
    assert str(error).startswith(f"{file}:{line}:")
    assert (error.fields["file"], error.fields["line"]) == (str(file), line)
    for each in words:
        assert each in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("schemas", "[orchestrator]")),
        ("[orchestrator]\nschemas =\n", ("schemas", "[orchestrator]")),
        ("[orchestrator]\nschemas = a\n", ("[schema:a]", "migrations")),
        ("[orchestrator]\nschemas = a\n[schema:a]\nmigrations = migrations\n", ("connection", "databases = ...")),
        (
            "[orchestrator]\nschemas = a\n[schema:a]\nmigrations = migrations\ndatabases = b\n",
            ("[database:a:b]", "connection"),
        ),
    ],
)
def test_a_missing_option_is_named_with_its_section(write: Write, text: str, words: tuple[str, ...]) -> None:
    file = write(text)
    error = refusal(file)
    assert error.code == "option_missing"
    assert str(file) in str(error)
    for each in words:
        assert each in str(error)


def test_a_missing_directory_of_migrations_is_named(write: Write, tmp_path: Path) -> None:
    error = refusal(write(MINIMAL.replace("migrations = migrations", "migrations = nowhere")))
    assert (error.code, error.fields["line"]) == ("directory_missing", 6)
    assert str(tmp_path / "nowhere") in str(error)


def test_a_database_that_was_taken_out_is_told_from_one_that_is_misspelt(write: Write) -> None:
    text = "[orchestrator]\nschemas = s\n[schema:s]\nmigrations = migrations\ndatabases = eu\n"
    eu, us = (f"[database:s:{each}]\nconnection = sqlite:////tmp/{each}.sqlite\n" for each in ("eu", "us"))
    taken_out = refusal(write(text + eu + us))
    assert (taken_out.code, taken_out.fields["line"]) == ("section_unknown", 8)
    assert "us is not in [schema:s] databases any more" in taken_out.remedy
    assert "Did you mean [database:s:eu]?" in refusal(write(text + eu.replace("s:eu", "s:eus"))).remedy


def test_the_same_database_twice_is_refused(write: Write) -> None:
    error = refusal(
        write(
            """\
            [orchestrator]
            schemas = s
            [schema:s]
            migrations = migrations
            databases = a, b
            [database:s:a]
            connection = postgresql://u:secret@db/x
            [database:s:b]
            connection = postgresql://u:secret@db/x
            """
        )
    )
    assert (error.code, error.fields["line"]) == ("database_repeated", 9)


TWO_SCHEMAS = """\
[orchestrator]
schemas = s, other
[schema:s]
migrations = migrations
databases = a, b
[database:s:a]
connection = {}
[database:s:b]
connection = postgresql://u:secret@db/b
[schema:other]
migrations = {}
connection = {}
{}
"""


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ("postgresql://u:secret@db/x", "postgresql+psycopg://u@DB:5432/x"),
        ("mysql://u:secret@db/x", "mariadb+pymysql://v:other@db:3306/x"),
        ("sqlite:////tmp/x.sqlite", "sqlite:////tmp/../tmp/x.sqlite"),
    ],
)
@pytest.mark.parametrize(
    ("migrations", "more", "says"),
    [
        ("more", "", "both have version_table = alembic_version"),
        ("./migrations", "version_table = other_version", "both have migrations = "),
    ],
)
def test_two_schemas_with_the_same_tables_are_refused(
    write: Write, tmp_path: Path, mine: str, others: str, migrations: str, more: str, says: str
) -> None:
    (tmp_path / "more").mkdir()
    error = refusal(write(TWO_SCHEMAS.format(mine, migrations, others, more)))
    assert (error.code, error.fields["line"]) == ("database_shared", 12)
    assert "it is a database of schema s too" in error.message and says in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("mine", "migrations", "others", "more"),
    [
        ("postgresql://u@db/x", "more", "postgresql://u@db/x", "version_table = other_version"),
        ("postgresql://u@db/x", "migrations", "postgresql://u@db/y", ""),
        ("postgresql://u@db/x", "migrations", "postgresql://v@db/x", ""),  # each may have a schema of its own there
        ("mysql://u@db/x", "migrations", "mysql://u@db:3307/x", ""),
        ("sqlite:////tmp/x", "migrations", "sqlite:////tmp/y", ""),
    ],
)
def test_two_schemas_that_share_nothing_are_let_be(
    write: Write, tmp_path: Path, mine: str, migrations: str, others: str, more: str
) -> None:
    (tmp_path / "more").mkdir()
    assert len(load([write(TWO_SCHEMAS.format(mine, migrations, others, more))]).schemas) == 2


def test_a_refusal_never_shows_a_password(write: Write) -> None:
    for line in ("connection = postgresql://u:secret$word@db/x", "connection postgresql;//u;secret@db/x"):
        error = refusal(write(MINIMAL.replace("connection = sqlite:////tmp/inventory.sqlite", line)))
        assert "secret" not in str(error)
        assert error.fields["line"] == 7


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "no.conf")
    assert error.code == "config_file_missing"
    assert str(tmp_path / "no.conf") in str(error)


def test_a_file_in_a_usual_place_is_read_where_none_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = write(MINIMAL)
    assert find_config_files() == (file,)
    assert load().config_files == (file,)


def test_the_first_of_the_usual_places_counts(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(MINIMAL)
    (tmp_path / ".orchestrator").mkdir()
    first = tmp_path / ".orchestrator" / "orchestrator.conf"
    first.write_text(MINIMAL)
    assert find_config_files() == (first,)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "config_file_unreadable"
    file = tmp_path / "x.conf"
    file.write_bytes(b"[api]\n\xff\xfe\n")
    assert refusal(file).code == "config_file_unreadable"


def test_every_loopback_address_needs_no_token(write: Write) -> None:
    for bind in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        assert load([write(MINIMAL + f"[api]\nbind = {bind}\n")]).bind == bind


def test_another_address_is_fine_with_tokens(write: Write, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("")
    settings = load([write(MINIMAL + "[api]\nbind = ::\ntokens_file = tokens\n")])
    assert (settings.bind, settings.tokens_file) == ("::", tmp_path / "tokens")


def test_members_of_a_cluster_belong_to_one_database(write: Write) -> None:
    one = MINIMAL + "members = mysql://a/x\nmembers = mysql://b/x\n"
    (database,) = load([write(one)]).schemas[0].databases
    assert database.members == ("mysql://a/x", "mysql://b/x")
    assert "mysql" not in repr(database)
    several = MINIMAL.replace("connection = sqlite:////tmp/inventory.sqlite", "databases = one") + (
        "members = mysql://a/x\n[database:inventory:one]\nconnection = mysql://a/x\nmembers = mysql://b/x\n"
    )
    assert refusal(write(several)).code == "option_ambiguous"
    several = several.replace("members = mysql://a/x\n", "", 1)
    (database,) = load([write(several)]).schemas[0].databases
    assert database.members == ("mysql://b/x",)
