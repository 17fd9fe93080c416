"""The example service on disk: where it is, how its code is loaded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from orchestrator.resources import examples_directory

SCHEMA = "inventory"
FLEETS = ("inventory-api", "inventory-worker")
OLD_COLUMNS = (("customers", "name"), ("items", "status"))


def service_directory() -> Path:
    """Where the code of the example service is."""
    return examples_directory() / "inventory"


def migrations_directory() -> Path:
    """Where its releases.toml and its revisions are."""
    return service_directory() / "migrations"


def service_module(name: str) -> ModuleType:
    """Import a module of the example service: `inventory_v1`, `inventory_v2` or `service`."""
    directory = str(service_directory())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return importlib.import_module(name)
