"""[database]: the orchestrator's own state database."""

from oslo_config import cfg

GROUP = cfg.OptGroup("database", help="The orchestrator's own state database, its state of record.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "connection",
        secret=True,
        sample_default="sqlite:////var/lib/orchestrator/orchestrator.sqlite",
        help="URL of the state database. Without it, the SQLite file orchestrator.sqlite in state_dir. More than one "
        "daemon needs a PostgreSQL that they share. A dollar sign is written $$.",
    ),
)
