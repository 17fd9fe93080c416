"""Guards: the conditions of entering a phase, one file each.

A guard is a module with `blockers(view, target)`: it yields one blocker for each reason why `target` cannot be
entered now, and nothing when it is open. Which guards a phase has is said in the ladder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.domain.guards import (
    approved,
    data_migrated,
    databases_expanded,
    databases_fenced,
    databases_in_step,
    databases_sealed,
    databases_unsealed,
    fleets_known,
    fleets_not_paused,
    instances_acked,
    instances_imported,
    instances_support,
    inventories_support,
    manifest_unchanged,
    not_frozen,
    not_paused,
    old_shape_there,
    old_shape_valid,
    roles_settled,
    soaked,
    waves_open,
)
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View

Guard = Callable[[View, Phase], Iterable[Blocker]]

GUARDS: dict[str, Guard] = {
    module.__name__.rpartition(".")[2]: module.blockers
    for module in (
        not_paused,
        not_frozen,
        manifest_unchanged,
        old_shape_there,
        fleets_known,
        instances_imported,
        instances_support,
        inventories_support,
        roles_settled,
        waves_open,
        fleets_not_paused,
        instances_acked,
        databases_fenced,
        databases_expanded,
        databases_in_step,
        data_migrated,
        old_shape_valid,
        databases_sealed,
        databases_unsealed,
        soaked,
        approved,
    )
}
"""Every guard under the name that the ladder uses."""
