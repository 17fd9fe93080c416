"""[schema:NAME]: one managed schema."""

from oslo_config import cfg

from orchestrator.conf import throttling
from orchestrator.conf.schema_database import MEMBERS, REPLICAS

PREFIX = "schema:"

COMMAND_ONLY = ("preset", "command_prefix", "config_file", "environment")
"""Options that mean something only with `driver = command`."""

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "migrations",
        required=True,
        sample_default="/etc/orchestrator/inventory/migrations",
        help="Directory with releases.toml, expand/, contract/ and data/. A relative path counts from the directory of "
        "the file that names it.",
    ),
    cfg.StrOpt(
        "connection",
        secret=True,
        sample_default="postgresql://orchestrator:PASSWORD@db.example.org/inventory",
        help="URL of the schema's database, where it has only one. A dollar sign is written $$.",
    ),
    MEMBERS,
    REPLICAS,
    cfg.ListOpt(
        "databases",
        sample_default=["cell01", "cell02"],
        help="Names of the schema's databases, instead of connection. Each has a section [database:NAME:DATABASE]. The "
        "first takes each step alone before the others.",
    ),
    cfg.StrOpt(
        "driver",
        default="alembic",
        choices=[
            ("alembic", "Revisions in migrations/expand and migrations/contract, run by the orchestrator."),
            ("command", "The service brings its own migration tool; a preset says how to call it."),
        ],
        help="What runs the migrations.",
    ),
    cfg.StrOpt(
        "version_table",
        default="alembic_version",
        help="Table in which Alembic keeps the position of this tree.",
    ),
    cfg.StrOpt(
        "preset",
        sample_default="keystone",
        help="With driver = command: the name of a preset that comes along, or the path of a TOML file.",
    ),
    cfg.StrOpt(
        "command_prefix",
        sample_default="docker exec keystone",
        help="With driver = command: what is put before each command, split into words as a shell would; no shell "
        "ever sees it.",
    ),
    cfg.StrOpt(
        "config_file",
        sample_default="/etc/keystone/keystone.conf",
        help="With driver = command: the service's own configuration file, handed to its tool.",
    ),
    cfg.MultiStrOpt(
        "environment",
        default=[],
        sample_default=["LANG=C.UTF-8"],
        secret=True,
        help="With driver = command: one variable of the tool's environment, NAME=VALUE. Repeat it for more; nothing "
        "else is handed down.",
    ),
    cfg.DictOpt(
        "roles",
        default={},
        sample_default="nova_2026_1: 2026.1, nova_2026_2: 2026.2",
        help="Under which role (user) of its databases each release works, for services that never register. Whoever "
        "is connected under the role of a release that cannot live in the next phase keeps the upgrade from it, and "
        "the old release's roles are locked before. The orchestrator itself works under another one.",
    ),
    cfg.ListOpt("approve", help="As in [policy], for this schema.", sample_default=["write_new", "contracted"]),
    cfg.FloatOpt("soak_seconds", min=0.0, help="As in [policy], for this schema.", sample_default=3600.0),
    cfg.StrOpt("waves", help="As in [policy], for this schema.", sample_default="inventory-api; inventory-worker"),
    cfg.StrOpt("canary", help="As in [policy], for this schema.", sample_default="2"),
    cfg.FloatOpt("wave_soak_seconds", min=0.0, help="As in [policy], for this schema.", sample_default=600.0),
    cfg.FloatOpt(
        "end_idle_blockers_after_seconds", min=0.0, help="As in [policy], for this schema.", sample_default=300.0
    ),
    cfg.FloatOpt(
        "batch_seconds", min=0.001, max=60.0, help="As in [data_migrations], for this schema.", sample_default=0.05
    ),
    cfg.IntOpt(
        "batch_rows", min=1, max=1_000_000, help="As in [data_migrations], for this schema.", sample_default=5000
    ),
    cfg.IntOpt(
        "batch_bytes", min=1, max=1024**3, help="As in [data_migrations], for this schema.", sample_default=4194304
    ),
    cfg.IntOpt(
        "min_batch_rows", min=1, max=1_000_000, help="As in [data_migrations], for this schema.", sample_default=100
    ),
    cfg.IntOpt("workers", min=1, max=32, help="As in [data_migrations], for this schema.", sample_default=4),
    cfg.FloatOpt(
        "nice_ratio", min=0.0, max=100.0, help="As in [data_migrations], for this schema.", sample_default=1.0
    ),
    *throttling.FOR_SCHEMAS,
)


def group(name: str) -> cfg.OptGroup:
    """The section of the schema of that name."""
    return cfg.OptGroup(
        f"{PREFIX}{name}", help="[schema:NAME]: one managed schema, one of those in [orchestrator] schemas."
    )
