"""The options of a daemon: one file per section. They are read into settings, which are passed in and never global."""

from orchestrator.conf.loading import find_config_files, load
from orchestrator.conf.options import list_opts
from orchestrator.conf.settings import DatabaseSettings, SchemaSettings, Settings

__all__ = ["DatabaseSettings", "SchemaSettings", "Settings", "find_config_files", "list_opts", "load"]
