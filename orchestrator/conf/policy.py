"""[policy]: what the site asks for beyond safety."""

from oslo_config import cfg

GROUP = cfg.OptGroup("policy", help="What the site asks for beyond safety. A section [schema:NAME] may say otherwise.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.ListOpt(
        "approve",
        default=["contracted"],
        help="Phases that are only entered after `orchestrator upgrade approve`: write_new, contracted. "
        "Empty for none.",
    ),
    cfg.FloatOpt(
        "soak_seconds",
        default=0.0,
        min=0.0,
        help="How long an upgrade has to stand in the phase before contracted.",
    ),
    cfg.StrOpt(
        "waves",
        sample_default="nova-conductor; nova-scheduler, nova-api; nova-compute",
        help="The order in which fleets are told a phase on the way up: fleets with commas between them, waves with "
        "semicolons. Fleets that are not named are in the last wave. A wave follows when everybody who was told has "
        "drained into the phase. Without a value all are told at once.",
    ),
    cfg.StrOpt(
        "canary",
        sample_default="10%",
        help="How many instances of each fleet of the first wave are told before the others: a number, or a "
        "percentage. Without a value there is no canary.",
    ),
    cfg.FloatOpt(
        "wave_soak_seconds",
        default=0.0,
        min=0.0,
        help="How long a wave, or the canary, has to stand before the next wave is told.",
    ),
    cfg.FloatOpt(
        "end_idle_blockers_after_seconds",
        min=0.0,
        sample_default=300.0,
        help="End a session that keeps a step waiting for its locks and has done nothing in an open transaction for "
        "this long. Sessions that run a statement, and the orchestrator's own, are never ended. Without a value, none "
        "is.",
    ),
)
