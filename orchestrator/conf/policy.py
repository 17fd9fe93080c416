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
    cfg.FloatOpt(
        "end_idle_blockers_after_seconds",
        min=0.0,
        sample_default=300.0,
        help="End a session that keeps a step waiting for its locks and has done nothing in an open transaction for "
        "this long. Sessions that run a statement, and the orchestrator's own, are never ended. Without a value, none "
        "is.",
    ),
)
