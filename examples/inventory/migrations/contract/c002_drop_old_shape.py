"""What only release 1 needed. Runs when nothing alive reads or writes it any more."""

from alembic import op

revision = "c002_drop_old_shape"
down_revision = None
branch_labels = ("contract",)
depends_on = "e002_new_shape"


def upgrade() -> None:
    op.drop_column("customers", "name")
    op.drop_column("items", "status")
