"""The tables of the bookkeeping. Created and changed only by the revisions in `migrations/` beside this file.

Times are seconds since the epoch, UTC, by the clock of the database that holds the row.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, String, Table, Text, false

PREFIX = "orchestrator_"

VERSION_TABLE = "orchestrator_bookkeeping_version"

metadata = MetaData()

IN_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
"""Names are told apart by every letter and accent on MySQL and MariaDB too, and every row is transactional."""

operations = Table(
    "orchestrator_operations",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("revision", String(128), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", String(64), nullable=False),
    Column("statement", Text, nullable=False),
    Column("image", String(64)),
    Column("state", String(16), nullable=False),
    Column("owner_epoch", BigInteger, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("member", String(64)),
    **IN_MYSQL,
)
"""The statements of a revision that is being run, where one may remain without the others. State: intent, done.

`position` counts the revision's operations, `part` the statements of one. `image` is the tables' look before it.
`member` is the one of a cluster on which an intent was written.
"""

steps = Table(
    "orchestrator_steps",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("revision", String(128), primary_key=True),
    Column("stage", String(16), nullable=False),
    Column("file_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("owner_epoch", BigInteger, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("claims", BigInteger, nullable=False, server_default="0"),
    **IN_MYSQL,
)
"""The journal: one row per revision, written before its first statement. State: intent, done.

`claims` counts the transactions that held the row.
"""

copies = Table(
    "orchestrator_copies",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("upgrade_id", BigInteger),
    Column("phase", String(16), nullable=False),
    Column("fence", String(16), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("incarnation", String(255), nullable=False),
    Column("admits", Text, nullable=False),
    Column("ttl_seconds", Double, nullable=False),
    Column("renew_seconds", Double, nullable=False),
    Column("joins", BigInteger, nullable=False),
    Column("move", String(16), nullable=False),
    Column("reversing", Boolean, nullable=False),
    Column("frozen", Boolean, nullable=False),
    Column("written_at", Double, nullable=False),
    **IN_MYSQL,
)
"""The copy: what this database knows of the upgrade's state, so that it can fence by itself.

`admits` is JSON: for each release that can live in the phase, what it is told to follow and whether it may join now;
one that is absent may not. Whoever joins here counts `joins` up: a join and a fence come one after the other.
"""

instances = Table(
    "orchestrator_instances",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("fleet", String(64), primary_key=True),
    Column("instance_id", String(64), primary_key=True),
    Column("tag", String(64), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("release", String(64), nullable=False),
    Column("host", String(255)),
    Column("state", String(16), nullable=False),
    Column("sessions", String(16)),
    Column("news", Boolean, nullable=False),
    Column("acked", BigInteger, nullable=False),
    Column("joined_at", Double, nullable=False),
    Column("renewed_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("ended_at", Double),
    **IN_MYSQL,
)
"""The processes that use this database. State: alive, left, evicted. Sessions: tagged, or null as in the state.

`tag` is the SHA-256 of the lease's epoch, `nonce` that of its registration's nonce, both in hexadecimal digits: the
secrets themselves are in no database. An instance writes its own row, with `news` where it found no daemon to tell;
the leading daemon takes that away again. Whoever evicts an instance writes the row if there is none, and the row of an
evicted one stays. On PostgreSQL a session's application_name ends in the first 32 digits of the tag.
"""

sessions = Table(
    "orchestrator_sessions",
    metadata,
    Column("member", String(255), primary_key=True),
    Column("session", BigInteger, primary_key=True, autoincrement=False),
    Column("tag", String(64), nullable=False),
    Column("started_at", Double, nullable=False),
    **IN_MYSQL,
)
"""Whose each session is, where the server shows no tag of it: MariaDB and MySQL.

`member` is `CONCAT(@@hostname, ':', @@port)` of the server, of a cluster the node's. A server that was restarted gives
its numbers out anew: a session writes its row over what it finds there, and a row from before its start says nothing.
"""

roles = Table(
    "orchestrator_roles",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("role", String(128), primary_key=True),
    Column("state", String(16), nullable=False),
    **IN_MYSQL,
)
"""The roles of old releases that we locked, or are about to lock or unlock. State: locked, unlocking."""

data_migrations = Table(
    "orchestrator_data_migrations",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("release", String(64), nullable=False),
    Column("upgrade_id", BigInteger),
    Column("file_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("cursor", Text),
    Column("rows_total", BigInteger),
    Column("rows_done", BigInteger, nullable=False),
    Column("verify_cursor", Text),
    Column("rows_verified", BigInteger, nullable=False),
    Column("differences", BigInteger, nullable=False),
    Column("first_differences", Text),
    Column("witness_incarnation", String(255)),
    Column("error", Text),
    Column("batch_at", Double),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("is_reverse", Boolean, nullable=False),
    Column("batch_rows", Integer),
    Column("suspect_rows", Integer, nullable=False, server_default="0"),
    Column("rows_quarantined", Integer, nullable=False, server_default="0"),
    Column("is_split", Boolean, nullable=False, server_default=false()),
    Column("repairs", Text),
    **IN_MYSQL,
)
"""The ledger: which data migrations ran, and the cursor of each. Only the holder of `revision` may move it.

A daemon older than the columns after `is_reverse` leaves them as they are, whatever it does: nothing is skipped, and
nothing counts as proven, for what they say. `is_split` is set only while no daemon runs that does not know it.
"""

ranges = Table(
    "orchestrator_ranges",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("run_at", Double),
    Column("low", Text),
    Column("high", Text),
    Column("revision", BigInteger, nullable=False),
    Column("cursor", Text),
    Column("is_done", Boolean, nullable=False),
    Column("rows_done", BigInteger, nullable=False),
    Column("differences", BigInteger, nullable=False),
    Column("first_differences", Text),
    Column("batch_at", Double),
    Column("batch_rows", Integer),
    Column("suspect_rows", Integer, nullable=False),
    Column("repairs", Text),
    **IN_MYSQL,
)
"""Parts of a data migration's rows that several workers move, or verify, at once: keys after `low`, up to `high`.

They mean something only while the ledger's `is_split` is set, and for the run of it that began at `run_at`. `number`
grows with the keys, and never repeats. The row's lock is the right to work on it.
"""

quarantine = Table(
    "orchestrator_quarantine",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("row_key", Text, nullable=False),
    Column("row_words", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("failed_at", Double, nullable=False),
    Column("waits", Boolean, nullable=False),
    **IN_MYSQL,
)
"""Rows that a data migration passed since they could not be moved. `waits`: it is to be tried once more.

They mean something only while the ledger's `rows_quarantined` is not 0: what sends a data migration back to its start
leaves them, and its first batch takes them away.
"""

verifications = Table(
    "orchestrator_verifications",
    metadata,
    Column("schema_name", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("file_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("cursor", Text),
    Column("rows_done", BigInteger, nullable=False),
    Column("differences", BigInteger, nullable=False),
    Column("first_differences", Text),
    Column("expected", Text),
    Column("error", Text),
    Column("actor", String(255), nullable=False),
    Column("reason", Text),
    Column("batch_at", Double),
    Column("batch_rows", Integer),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    **IN_MYSQL,
)
"""Comparisons of a data migration's rows that somebody asked for: the newest of each. State: running, done, stopped,
failed. They say nothing to guards, and the ledger nothing of them. `expected` is why differences are no alarm.
"""

incarnation = Table(
    "orchestrator_incarnation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", String(255), nullable=False),
    **IN_MYSQL,
)
"""The identity of a database that has none of its own (SQLite): the row with id 1."""


def is_bookkeeping_table(name: str) -> bool:
    """Whether a table of that name is the orchestrator's own and no part of the managed schema."""
    return name.rpartition(".")[2].lower().startswith(PREFIX)
