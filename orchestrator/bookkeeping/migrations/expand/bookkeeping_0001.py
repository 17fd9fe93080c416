"""The journals, the copy, the instances and their sessions, the ledger and the incarnation.

The journals come first, and nothing is on record of this revision before they are there: where its tables commit one
by one, it is run again until all of them are.
"""

import sqlalchemy as sa
from alembic import op

revision = "bookkeeping_0001"
down_revision = None
branch_labels = ("expand",)
depends_on = None

IN_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "orchestrator_operations",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("revision", sa.String(128), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("image", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("member", sa.String(64)),
        **IN_MYSQL,
        if_not_exists=True,
    )
    op.create_table(
        "orchestrator_steps",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("revision", sa.String(128), primary_key=True),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("file_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("claims", sa.BigInteger, nullable=False, server_default="0"),
        **IN_MYSQL,
        if_not_exists=True,
    )
    op.create_table(
        "orchestrator_copies",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("upgrade_id", sa.BigInteger),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("fence", sa.String(16), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("incarnation", sa.String(255), nullable=False),
        sa.Column("admits", sa.Text, nullable=False),
        sa.Column("ttl_seconds", sa.Double, nullable=False),
        sa.Column("renew_seconds", sa.Double, nullable=False),
        sa.Column("joins", sa.BigInteger, nullable=False),
        sa.Column("move", sa.String(16), nullable=False),
        sa.Column("reversing", sa.Boolean, nullable=False),
        sa.Column("frozen", sa.Boolean, nullable=False),
        sa.Column("written_at", sa.Double, nullable=False),
        **IN_MYSQL,
        if_not_exists=True,
    )
    op.create_table(
        "orchestrator_instances",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("fleet", sa.String(64), primary_key=True),
        sa.Column("instance_id", sa.String(64), primary_key=True),
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sessions", sa.String(16)),
        sa.Column("news", sa.Boolean, nullable=False),
        sa.Column("acked", sa.BigInteger, nullable=False),
        sa.Column("joined_at", sa.Double, nullable=False),
        sa.Column("renewed_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        **IN_MYSQL,
        if_not_exists=True,
    )
    op.create_table(
        "orchestrator_sessions",
        sa.Column("member", sa.String(255), primary_key=True),
        sa.Column("session", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        **IN_MYSQL,
        if_not_exists=True,
    )
    op.create_table(
        "orchestrator_roles",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(128), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        **IN_MYSQL,
        if_not_exists=True,
    )
    op.create_table(
        "orchestrator_data_migrations",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("upgrade_id", sa.BigInteger),
        sa.Column("file_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("rows_total", sa.BigInteger),
        sa.Column("rows_done", sa.BigInteger, nullable=False),
        sa.Column("verify_cursor", sa.Text),
        sa.Column("rows_verified", sa.BigInteger, nullable=False),
        sa.Column("differences", sa.BigInteger, nullable=False),
        sa.Column("first_differences", sa.Text),
        sa.Column("witness_incarnation", sa.String(255)),
        sa.Column("error", sa.Text),
        sa.Column("batch_at", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("is_reverse", sa.Boolean, nullable=False),
        **IN_MYSQL,
        if_not_exists=True,
    )
    op.create_table(
        "orchestrator_incarnation",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.String(255), nullable=False),
        **IN_MYSQL,
        if_not_exists=True,
    )
