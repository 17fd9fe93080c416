"""The size of batches, which follows the time that they take."""

import sqlalchemy as sa
from alembic import op

revision = "bookkeeping_0002"
down_revision = "bookkeeping_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orchestrator_data_migrations", sa.Column("batch_rows", sa.Integer))
    op.add_column(
        "orchestrator_data_migrations", sa.Column("suspect_rows", sa.Integer, nullable=False, server_default="0")
    )
