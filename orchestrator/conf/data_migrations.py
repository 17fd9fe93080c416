"""[data_migrations]: how fast rows are moved."""

from oslo_config import cfg

GROUP = cfg.OptGroup("data_migrations", help="How fast rows are moved.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.IntOpt("batch_rows", default=1000, min=1, max=1_000_000, help="Rows that are moved in one transaction."),
    cfg.FloatOpt("pause_seconds", default=0.0, min=0.0, help="Pause between two batches, in each database."),
)
