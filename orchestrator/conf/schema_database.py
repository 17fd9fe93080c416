"""[database:SCHEMA:DATABASE]: one of several databases that carry a schema."""

from oslo_config import cfg

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
