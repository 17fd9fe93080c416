"""[database:SCHEMA:DATABASE]: one of several databases that carry a schema."""

from oslo_config import cfg

PREFIX = "database:"

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "connection",
        required=True,
        secret=True,
        sample_default="postgresql://orchestrator:PASSWORD@db1.example.org/cell01",
        help="URL of this database. A dollar sign is written $$.",
    ),
)


def group(schema: str, database: str) -> cfg.OptGroup:
    """The section of that database of that schema."""
    return cfg.OptGroup(
        f"{PREFIX}{schema}:{database}",
        help="[database:NAME:DATABASE]: one database of schema NAME, one of those in [schema:NAME] databases.",
    )
