"""What a colleague does who does not know of the orchestrator: `alembic upgrade heads`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

ENVIRONMENT = """
from alembic import context
import sqlalchemy as sa

engine = sa.create_engine(context.config.attributes["url"])
with engine.begin() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""


def upgrade_by_hand(url: str, migrations: Path, to: str = "heads") -> None:
    """Upgrade the database of that URL with plain Alembic."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "env.py").write_text(ENVIRONMENT)
        config = Config(attributes={"url": url})
        config.set_main_option("script_location", directory)
        config.set_main_option("version_locations", f"{migrations}/expand:{migrations}/contract")
        config.set_main_option("path_separator", "os")
        command.upgrade(config, to)
