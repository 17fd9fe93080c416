"""How far data migrations came and how fast, kept with what was last read of their database."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "state_0005"
down_revision = "state_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("readings", sa.Column("tracks", sa.Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=True))
