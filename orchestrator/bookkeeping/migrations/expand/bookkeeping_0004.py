"""Ranges, for data migrations whose rows several workers move at once."""

import sqlalchemy as sa
from alembic import op

revision = "bookkeeping_0004"
down_revision = "bookkeeping_0003"
branch_labels = None
depends_on = None

IN_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.add_column(
        "orchestrator_data_migrations", sa.Column("is_split", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "orchestrator_ranges",
        sa.Column("schema_name", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("run_at", sa.Double),
        sa.Column("low", sa.Text),
        sa.Column("high", sa.Text),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("is_done", sa.Boolean, nullable=False),
        sa.Column("rows_done", sa.BigInteger, nullable=False),
        sa.Column("differences", sa.BigInteger, nullable=False),
        sa.Column("first_differences", sa.Text),
        sa.Column("batch_at", sa.Double),
        sa.Column("batch_rows", sa.Integer),
        sa.Column("suspect_rows", sa.Integer, nullable=False),
        **IN_MYSQL,
    )
