"""The quarantine, for rows that a data migration could not move."""

import sqlalchemy as sa
from alembic import op

revision = "bookkeeping_0003"
down_revision = "bookkeeping_0002"
branch_labels = None
depends_on = None

IN_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.add_column(
        "orchestrator_data_migrations", sa.Column("rows_quarantined", sa.Integer, nullable=False, server_default="0")
    )
    op.create_table(
        "orchestrator_quarantine",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("row_key", sa.Text, nullable=False),
        sa.Column("row_words", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("failed_at", sa.Double, nullable=False),
        sa.Column("waits", sa.Boolean, nullable=False),
        **IN_MYSQL,
    )
