"""Schemas, upgrades, fleets and their leases, steps, approvals, readings, the audit log, leadership, daemons."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "state_0001"
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
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("schema", sa.String(length=64), nullable=True),
        sa.Column("upgrade_id", sa.Integer(), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        **IN_MYSQL,
    )
    op.create_index(op.f("ix_events_schema_id"), "events", ["schema", "id"], unique=False)
    op.create_table(
        "leadership",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("taken_at", sa.Double(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("clock_steps", sa.Double(), nullable=False),
        sa.Column("incarnation", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leadership")),
        **IN_MYSQL,
    )
    op.create_table(
        "daemons",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("state_release", sa.String(length=64), nullable=False),
        sa.Column("bookkeeping_release", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("renewed_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("ended_by", sa.String(length=255), nullable=True),
        sa.Column("end_reason", sa.String(length=2000), nullable=True),
        sa.Column("place", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_daemons")),
        **IN_MYSQL,
    )
    op.create_index(op.f("ix_daemons_state"), "daemons", ["state"], unique=False)
    op.create_table(
        "own_trees",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("contracting", sa.String(length=64), nullable=True),
        sa.Column("writes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_own_trees")),
        **IN_MYSQL,
    )
    op.create_table(
        "schemas",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("release", sa.String(length=64), nullable=True),
        sa.Column("upgrade_id", sa.Integer(), nullable=True),
        sa.Column("last_revision", sa.BigInteger(), nullable=False),
        sa.Column("forgotten", sa.Text(), nullable=True),
        sa.Column("lost_until", sa.Double(), nullable=True),
        sa.Column("writes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schemas")),
        **IN_MYSQL,
    )
    op.create_table(
        "fleets",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("fleet", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_fleets_schema")),
        sa.PrimaryKeyConstraint("schema", "fleet", name=op.f("pk_fleets")),
        **IN_MYSQL,
    )
    op.create_table(
        "instances",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("fleet", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("release", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("acked", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", sa.Double(), nullable=False),
        sa.Column("renewed_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("ended_by", sa.String(length=255), nullable=True),
        sa.Column("end_reason", sa.String(length=2000), nullable=True),
        sa.Column("sessions", sa.String(16), nullable=True),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.Column("unproven", sa.Text(), nullable=True),
        sa.Column("remedy", sa.Text(), nullable=True),
        sa.Column("is_refused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_instances_schema")),
        sa.PrimaryKeyConstraint("schema", "fleet", "id", name=op.f("pk_instances")),
        **IN_MYSQL,
    )
    op.create_index(op.f("ix_instances_schema_state"), "instances", ["schema", "state"], unique=False)
    op.create_index(op.f("ix_instances_schema_is_refused"), "instances", ["schema", "is_refused"], unique=False)
    op.create_table(
        "fleet_pauses",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("fleet", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_fleet_pauses_schema")),
        sa.PrimaryKeyConstraint("schema", "fleet", name=op.f("pk_fleet_pauses")),
        **IN_MYSQL,
    )
    op.create_table(
        "readings",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("database", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("observed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_readings_schema")),
        sa.PrimaryKeyConstraint("schema", "database", name=op.f("pk_readings")),
        **IN_MYSQL,
    )
    op.create_table(
        "reports",
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("fleet", sa.String(length=64), nullable=False),
        sa.Column("release", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=True),
        sa.Column("reported_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_reports_schema")),
        sa.PrimaryKeyConstraint("schema", "fleet", name=op.f("pk_reports")),
        **IN_MYSQL,
    )
    op.create_table(
        "upgrades",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("from_release", sa.String(length=64), nullable=False),
        sa.Column("to_release", sa.String(length=64), nullable=False),
        sa.Column("in_step_by", sa.String(16), nullable=False),
        sa.Column("has_data_migrations", sa.Boolean(), nullable=False),
        sa.Column("has_contract", sa.Boolean(), nullable=False),
        sa.Column("seals", sa.Boolean(), nullable=False),
        sa.Column("reverses", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("fence", sa.String(16), nullable=False),
        sa.Column("goal", sa.String(16), nullable=False),
        sa.Column("move", sa.String(16), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("publication", sa.BigInteger(), nullable=False),
        sa.Column("old_valid", sa.Boolean(), nullable=False),
        sa.Column("paused", sa.String(length=2000), nullable=True),
        sa.Column("cancelling", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("begun_at", sa.Double(), nullable=False),
        sa.Column("phase_since", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("doubt", sa.String(length=2000), nullable=True),
        sa.Column("manifest", sa.Text(), nullable=True),
        sa.Column("telling", sa.Text(), nullable=True),
        sa.Column("reversing", sa.Boolean(), nullable=False),
        sa.Column("frozen", sa.String(2000), nullable=True),
        sa.Column("frozen_until", sa.Double(), nullable=True),
        sa.Column("incarnation", sa.String(255), nullable=True),
        sa.ForeignKeyConstraint(["schema"], ["schemas.name"], name=op.f("fk_upgrades_schema")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upgrades")),
        **IN_MYSQL,
    )
    op.create_index(op.f("ix_upgrades_schema_id"), "upgrades", ["schema", "id"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("upgrade_id", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=True),
        sa.Column("forced", sa.String(255), nullable=False),
        sa.Column("approved_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["upgrade_id"], ["upgrades.id"], name=op.f("fk_approvals_upgrade_id")),
        sa.PrimaryKeyConstraint("upgrade_id", "phase", name=op.f("pk_approvals")),
        **IN_MYSQL,
    )
    op.create_table(
        "steps",
        sa.Column("upgrade_id", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("database", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("remedy", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["upgrade_id"], ["upgrades.id"], name=op.f("fk_steps_upgrade_id")),
        sa.PrimaryKeyConstraint("upgrade_id", "phase", "database", name=op.f("pk_steps")),
        **IN_MYSQL,
    )
