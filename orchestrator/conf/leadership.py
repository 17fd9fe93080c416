"""[leadership]: how long a daemon leads without renewing its leadership."""

from oslo_config import cfg

GROUP = cfg.OptGroup("leadership", help="Which of several daemons advances the upgrades.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.FloatOpt(
        "ttl_seconds",
        default=10.0,
        min=1.0,
        help="How long a daemon leads without renewing: after this time another one takes over. Longer than "
        "[cycle] interval_seconds.",
    ),
)
