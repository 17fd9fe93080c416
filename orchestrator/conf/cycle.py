"""[cycle]: how often the leading daemon looks, and how much it does at once."""

from oslo_config import cfg

GROUP = cfg.OptGroup("cycle", help="How often the leading daemon looks, and how much it does at once.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.FloatOpt("interval_seconds", default=1.0, min=0.05, help="Pause between two looks at every schema."),
    cfg.IntOpt("parallel", default=8, min=1, max=256, help="How many databases are read, or take a step, at once."),
)
