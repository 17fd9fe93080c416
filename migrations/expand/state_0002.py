"""Why rows wait: what each daemon found in the way of the next batch."""

import sqlalchemy as sa
from alembic import op

revision = "state_0002"
down_revision = "state_0001"
branch_labels = None
depends_on = None

IN_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "rows_waits",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("database", sa.String(length=64), nullable=False),
        sa.Column("daemon", sa.String(length=255), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_rows_waits_schema")),
        sa.PrimaryKeyConstraint("schema", "database", "daemon", name=op.f("pk_rows_waits")),
        **IN_MYSQL,
    )
