"""What a retry moves again of rows that differ, and comparisons of rows that somebody asked for."""

import sqlalchemy as sa
from alembic import op

revision = "bookkeeping_0005"
down_revision = "bookkeeping_0004"
branch_labels = None
depends_on = None

IN_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.add_column("orchestrator_data_migrations", sa.Column("repairs", sa.Text))
    op.add_column("orchestrator_ranges", sa.Column("repairs", sa.Text))
    op.create_table(
        "orchestrator_verifications",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("file_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("rows_done", sa.BigInteger, nullable=False),
        sa.Column("differences", sa.BigInteger, nullable=False),
        sa.Column("first_differences", sa.Text),
        sa.Column("expected", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("batch_at", sa.Double),
        sa.Column("batch_rows", sa.Integer),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        **IN_MYSQL,
    )
