"""What operators want of data migrations, and what they set of their pace."""

import sqlalchemy as sa
from alembic import op

revision = "state_0003"
down_revision = "state_0002"
branch_labels = None
depends_on = None

IN_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "intentions",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("database", sa.String(length=64), nullable=False),
        sa.Column("wish", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_intentions_schema")),
        sa.PrimaryKeyConstraint("schema", "name", "database", name=op.f("pk_intentions")),
        **IN_MYSQL,
    )
    op.create_table(
        "settings",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("database", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("option", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=True),
        sa.Column("set_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_settings_schema")),
        sa.PrimaryKeyConstraint("schema", "database", "name", "option", name=op.f("pk_settings")),
        **IN_MYSQL,
    )
