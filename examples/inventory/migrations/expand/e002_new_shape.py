"""Release 2 beside release 1: names in two columns, statuses in a table of their own.

Nothing here disturbs release 1. It adds what release 2 reads and writes, and it loosens the two old columns: in the
end release 2 writes only the new shape, and has to be able to insert a row without them.
"""

import sqlalchemy as sa
from alembic import op

revision = "e002_new_shape"
down_revision = "e001_first_tables"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statuses = op.create_table(
        "statuses",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20), nullable=False, unique=True),
    )
    op.bulk_insert(
        statuses,
        [
            {"id": 1, "name": "available"},
            {"id": 2, "name": "reserved"},
            {"id": 3, "name": "sold"},
            {"id": 4, "name": "retired"},
        ],
    )

    op.add_column("customers", sa.Column("first_name", sa.String(200)))
    op.add_column("customers", sa.Column("last_name", sa.String(200)))
    op.add_column("items", sa.Column("status_id", sa.Integer, sa.ForeignKey("statuses.id")), inline_references=True)

    # Batch mode is a plain ALTER COLUMN on PostgreSQL, and on SQLite, which has none, a rebuilt table.
    with op.batch_alter_table("customers") as customers:
        customers.alter_column("name", existing_type=sa.String(200), nullable=True)
    with op.batch_alter_table("items") as items:
        items.alter_column("status", existing_type=sa.String(20), nullable=True)
