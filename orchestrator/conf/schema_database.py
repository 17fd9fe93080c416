"""[database:SCHEMA:DATABASE]: one of several databases that carry a schema."""

from collections.abc import Sequence

from oslo_config import cfg

from orchestrator.conf.nearest import meant
from orchestrator.conf.reading import SectionReader
from orchestrator.conf.settings import DatabaseSettings

PREFIX = "database:"

MEMBERS = cfg.MultiStrOpt(
    "members",
    default=[],
    secret=True,
    sample_default=["mysql://orchestrator:PASSWORD@db2.example.org/cell01"],
    help="On a Galera cluster: the URL of the database on one node. Repeat it for each node. A session of an instance "
    "that is evicted is ended on the node that it lives on.",
)

REPLICAS = cfg.MultiStrOpt(
    "replicas",
    default=[],
    secret=True,
    sample_default=["postgresql://orchestrator:PASSWORD@db2.example.org/cell01"],
    help="URL of the database on a replica, which is asked how far it is behind (max_replica_lag_seconds). Repeat it "
    "for each replica. Without it PostgreSQL is asked who is connected, which does not show a replica that is away.",
)

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "connection",
        required=True,
        secret=True,
        sample_default="postgresql://orchestrator:PASSWORD@db1.example.org/cell01",
        help="URL of this database. A dollar sign is written $$.",
    ),
    MEMBERS,
    REPLICAS,
)


def group(schema: str, database: str) -> cfg.OptGroup:
    """The section of that database of that schema."""
    return cfg.OptGroup(
        f"{PREFIX}{schema}:{database}",
        help="[database:NAME:DATABASE]: one database of schema NAME, one of those in [schema:NAME] databases.",
    )


def chosen(section: SectionReader, databases: Sequence[DatabaseSettings]) -> tuple[tuple[str, ...], DatabaseSettings]:
    """The names in a section's option `databases`, and the first of these databases; without names, of all.

    Raises `ConfigurationError` for a name that is none of theirs.
    """
    names, known = section.names("databases"), {each.name: each for each in databases}
    for name in names:
        if name not in known:
            section.refuse(
                "databases", "database_unknown", f"the schema has no database {name}", remedy=meant(name, known)
            )
    return names, known[names[0]] if names else databases[0]
