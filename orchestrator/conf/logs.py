"""[DEFAULT]: logging, by oslo.log's own options."""

from __future__ import annotations

from collections.abc import Sequence

from oslo_config import cfg
from oslo_log import _options as published  # what oslo.log itself names as its options, for generators

from orchestrator.conf.settings import Settings


def options() -> Sequence[cfg.Opt]:
    """oslo.log's options; all of them stand in [DEFAULT]."""
    return [opt for _, opts in published.list_opts() for opt in opts]


def set_up(settings: Settings, *, debug: bool = False) -> None:
    """Log as the files of these settings say; `debug` logs everything, whatever they say. For a process, once."""
    from oslo_log import log

    conf = cfg.ConfigOpts()
    log.register_options(conf)
    log.set_defaults(
        logging_context_format_string=None,
        default_log_levels=[*log.get_default_log_levels(), "alembic=WARN", "apscheduler=WARN", "uvicorn.access=WARN"],
    )
    conf(
        args=["--debug"] if debug else [],
        project="orchestrator",
        prog="orchestrator",
        default_config_files=[str(file) for file in settings.config_files],
        default_config_dirs=[],
    )
    log.setup(conf, "orchestrator")
