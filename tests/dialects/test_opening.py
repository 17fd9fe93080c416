"""Opening databases: every bad URL is one sentence, and no password is ever in it."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.dialects import open_database
from orchestrator.domain.errors import Invalid, OrchestratorError, Unavailable

SECRET = "s3cret-word"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "database_url_invalid"),
        (f"user:{SECRET}@host", "database_url_invalid"),
        (f"postgresql://user:{SECRET}@host:port/name", "database_url_invalid"),
        (f"postgresql+asyncpg://user:{SECRET}@host/name", "database_url_invalid"),
        (f"mysql+mysqldb://user:{SECRET}@host/name", "database_url_invalid"),
        (f"mysql://user:{SECRET}@host", "database_url_invalid"),
        (f"oracle://user:{SECRET}@host/name", "database_unsupported"),
        ("sqlite+aiosqlite:///name.db", "database_url_invalid"),
    ],
)
def test_url_that_cannot_be_used_is_refused_without_connecting(url: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_database("main", url)
    assert caught.value.code == code
    assert "main" in caught.value.message or caught.value.fields["database"] == "main"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/name",
        f"postgresql://user@127.0.0.1:1/name?password={SECRET}",
        f"mysql://user:{SECRET}@127.0.0.1:1/name",
        f"mariadb+pymysql://user@127.0.0.1:1/name?password={SECRET}",
        "sqlite:////nonexistent/directory/name.db",
    ],
)
def test_database_that_does_not_answer_is_unavailable_and_named(url: str) -> None:
    database = open_database("main", url)
    for transaction in (database.reading, database.writing, database.snapshot):
        with pytest.raises(Unavailable) as caught, transaction() as connection:
            connection.execute(sa.text("SELECT 1"))
        assert caught.value.code == "database_unreachable"
        assert "main" in caught.value.message
        assert SECRET not in str(caught.value)
    assert SECRET not in database.place


@pytest.mark.parametrize("kind", ["postgresql_url", "mysql_url"])
def test_wrong_password_is_unavailable_and_not_shown(kind: str, request: pytest.FixtureRequest) -> None:
    url = sa.make_url(request.getfixturevalue(kind)).set(username="nobody_of_that_name", password=SECRET)
    database = open_database("main", url.render_as_string(hide_password=False))
    with pytest.raises(Unavailable) as caught, database.reading():
        pass
    assert SECRET not in str(caught.value)


def test_errors_that_say_nothing_of_the_connection_stay_what_they_are(tmp_path: Path) -> None:
    database = open_database("main", f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(Exception, match="no such table") as caught, database.reading() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    assert not isinstance(caught.value, OrchestratorError)
