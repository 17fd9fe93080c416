"""The options of all sections, in the order of the sample file."""

from __future__ import annotations

from oslo_config import cfg

from orchestrator.conf import (
    api,
    cycle,
    data_migrations,
    database,
    inventory,
    leadership,
    leases,
    orchestrator,
    policy,
    schema,
    schema_database,
    throttle,
    throttling,
    window,
)

SECTIONS = (orchestrator, database, api, leases, cycle, leadership, policy, data_migrations, throttling)
"""The modules of the sections that stand once in a configuration. A new section is one file and one line here."""


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """All options with their groups, for `oslo-config-generator`; those of schemas bear the names of an example."""
    fixed = [(section.GROUP, list(section.OPTIONS)) for section in SECTIONS]
    return [
        *fixed,
        (schema.group("inventory"), list(schema.OPTIONS)),
        (schema_database.group("inventory", "cell01"), list(schema_database.OPTIONS)),
        (inventory.group("inventory", "inventory-api"), list(inventory.OPTIONS)),
        (throttle.group("inventory", "jobs"), list(throttle.OPTIONS)),
        (window.group("inventory", "night"), list(window.OPTIONS)),
    ]
