"""Guard: the old shape still holds every committed value, so going back to reading it is right."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.guards.data_migrated import how_rows_go_on, paused
from orchestrator.domain.intentions import intention_for
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, MigrationState, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed where the old shape may be stale and somebody who reads it may live in the phase.

    What its release brings to make it valid again runs at read_new, on the way back.
    """
    upgrade = view.upgrade
    if upgrade.old_valid or not upgrade.profile.reads_old(target):
        return
    if upgrade.needs_rows_moved_back(target):
        yield from unproven_reverses(view)
        yield Blocker(
            "old_shape_restored",
            "every row is proven to carry the old shape again, and that is not on record yet",
            "It is recorded by itself.",
        )
    else:
        yield Blocker(
            "old_shape_stale",
            f"going back to {target.word} would read the old shape, which is stale",
            "The upgrade can only go on from here.",
        )


def unproven_reverses(view: View) -> Iterator[Blocker]:
    """The reverse data migrations without their proof, in each database."""
    schema = view.upgrade.schema
    for database in view.databases:
        if database.error is not None:
            continue  # databases_fenced says so
        ledger = {facts.name: facts for facts in database.migrations}
        for name in view.new.reverse_data_migrations:
            found = ledger.get(name)
            state = MigrationState.PENDING if found is None else found.state
            if found is not None and state is MigrationState.COMPLETE and found.witness == database.incarnation:
                continue
            if found is not None and state is MigrationState.FAILED:
                yield Blocker(
                    "data_migration_failed",
                    f"data migration {name} stopped in {database.name}: {found.error or 'no error was recorded'}",
                    f"Mend what it names, then: orchestrator data-migration retry {schema} {name}",
                    (f"{database.name}/{name}",),
                )
                continue
            intention = intention_for(view.intentions, name, database.name)
            if intention is not None:
                yield paused(schema, intention)
                continue
            by_itself = "It runs by itself once everybody is at read_new"
            yield Blocker(
                "old_shape_stale_yet",
                f"data migration {name} makes the old shape valid again in {database.name}: {state.value}",
                how_rows_go_on(view, database.name, f"{by_itself}: orchestrator data-migration show {schema} {name}"),
                (f"{database.name}/{name}",),
            )
