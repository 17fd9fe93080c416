"""What a daemon adds to a refusal: that it does not read a mended file before it is restarted."""

from __future__ import annotations

import os

import pytest

from orchestrator.daemon.refusals import RESTART, explained, read_at_start
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, MigrationRefused, OrchestratorError, StepFailed

OF_A_FILE = MigrationRefused("not_in_expand", "e002 drops a column", remedy="Move it to contract.", file="e002.py")
OF_A_DATABASE = MigrationRefused("not_in_journal", "it was stamped", remedy="Put it right.", database="main")
OF_THE_STATE = Conflict("not_leader", "another daemon leads", remedy="Nothing to do.")


def remedy(error: OrchestratorError) -> str:
    with pytest.raises(type(error)) as raised, read_at_start():
        raise error
    assert (raised.value.code, raised.value.message, raised.value.fields) == (error.code, error.message, error.fields)
    return raised.value.remedy


def test_refusal_that_a_file_causes_says_that_daemons_are_to_be_restarted() -> None:
    assert remedy(OF_A_FILE) == f"Move it to contract. {RESTART}"


@pytest.mark.parametrize("error", [OF_A_DATABASE, OF_THE_STATE])
def test_refusal_that_no_file_causes_is_let_be(error: OrchestratorError) -> None:
    assert remedy(error) == error.remedy


NO_ROOM = {
    "sqlite": ("PRAGMA max_page_count = 1", "CREATE TABLE more (id INTEGER)"),
    "postgresql": ("DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",),
    "mysql": ("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = 'Disk full'",),
}


def test_full_disk_is_called_one(database: Database) -> None:
    with pytest.raises(StepFailed) as raised, explained(database), database.writing() as connection:
        for statement in NO_ROOM[database.dialect.name]:
            connection.exec_driver_sql(statement)
    assert raised.value.code == "disk_full"
    file = database.file
    if file is None:
        assert raised.value.message.endswith("the disk of its server is full")
    else:
        assert f"is the disk of {os.path.dirname(file)} full? " in raised.value.message
