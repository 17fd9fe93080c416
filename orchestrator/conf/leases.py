"""[leases]: how long an instance may use the database without renewing its lease."""

from oslo_config import cfg

GROUP = cfg.OptGroup("leases", help="How long an instance may use the database without renewing its lease.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.FloatOpt(
        "ttl_seconds", default=60.0, min=1.0, help="How long a lease lasts. Instances are told when they join."
    ),
    cfg.FloatOpt(
        "renew_seconds",
        min=0.1,
        sample_default=20.0,
        help="How often an instance renews its lease; at most half of ttl_seconds. Without it, a third of ttl_seconds.",
    ),
)
