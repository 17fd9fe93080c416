"""Guard: every data migration is complete and verified by query, in every database."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain import order
from orchestrator.domain.intentions import Intention, intention_for
from orchestrator.domain.ladder import Phase
from orchestrator.domain.pacing import known_total
from orchestrator.domain.throttling import remedy_of
from orchestrator.domain.view import Blocker, DatabaseFacts, MigrationFacts, MigrationState, View
from orchestrator.domain.ways_back import again_from


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each data migration without its proof.

    The first phase after backfill needs the witness of this database incarnation. Later phases need the ledger to
    say complete: by then the old shape may be stale and a comparison would prove nothing. Data migrations of earlier
    releases must be in the ledger too, so that a skipped one cannot hide.

    A proof counts for nothing once the old release was found to run beside it: the ledgers are only set back by a
    phase below backfill.
    """
    upgrade = view.upgrade
    if upgrade.doubt is not None:
        yield Blocker(
            "proof_doubtful",
            f"{upgrade.doubt}, so the shapes may be out of step",
            f"{again}. Then every row is moved and proven again."
            if (again := again_from(upgrade, Phase.EXPANDED))
            else "The old shape is stale by now: find the rows that it wrote, and put them right by hand.",
        )
    proof_needed = target == upgrade.profile.neighbour(Phase.BACKFILL, upgrade.goal) if _has_backfill(view) else False
    for database in view.databases:
        if database.error is not None:
            continue  # databases_fenced says so
        ledger = {facts.name: facts for facts in database.migrations}
        states = {
            name: found.state
            for name, found in ledger.items()
            if _is_proven(found, database, proof_needed) or found.state is not MigrationState.COMPLETE
        }
        links = view.links or order.in_manifest_order(view.new.data_migrations)
        for name in view.new.data_migrations:
            found = ledger.get(name)
            if found is None or not _is_proven(found, database, proof_needed):
                yield from _blockers(view, database, name, found, order.in_the_way(links, states, name))
        for name in view.earlier_migrations:
            found = ledger.get(name)
            if found is None or found.state not in (MigrationState.COMPLETE, MigrationState.ASSUMED):
                yield Blocker(
                    "data_migration_skipped",
                    f"data migration {name} of an earlier release has not run in {database.name}",
                    "Find out whether its rows are as it would have left them, and put the others right by hand. Then: "
                    f"orchestrator data-migration assume {upgrade.schema} {name} --database {database.name} "
                    "--attest-done --reason ...",
                    (f"{database.name}/{name}",),
                )


def _has_backfill(view: View) -> bool:
    return view.upgrade.profile.has_data_migrations


def _is_proven(found: MigrationFacts, database: DatabaseFacts, proof_needed: bool) -> bool:
    if found.state is not MigrationState.COMPLETE:
        return False
    return found.witness is not None and (not proof_needed or found.witness == database.incarnation)


def _blockers(
    view: View, database: DatabaseFacts, name: str, found: MigrationFacts | None, behind: str | None
) -> Iterator[Blocker]:
    intention = intention_for(view.intentions, name, database.name)
    if intention is None or found is None or found.state not in order.TO_DO:
        yield _blocker(view, database, name, found, behind)
    if intention is not None:
        yield paused(view.upgrade.schema, intention)


def paused(schema: str, intention: Intention) -> Blocker:
    """What keeps a data migration from its next batch because somebody wants it."""
    name, database = intention.name, intention.database
    return Blocker(
        "data_migration_paused",
        f"data migration {name} is {intention.wish.value} in {database}, by {intention.actor}: {intention.reason}",
        f"orchestrator data-migration resume {schema} {name} --database {database} --reason ...",
        (f"{database}/{name}",),
    )


def _blocker(
    view: View, database: DatabaseFacts, name: str, found: MigrationFacts | None, behind: str | None
) -> Blocker:
    schema, place = view.upgrade.schema, (f"{database.name}/{name}",)
    if found is None:
        sentence = f"data migration {name} has not started in {database.name}"
        return Blocker("data_migration_pending", sentence, _how_it_is_entered(view, database.name), place)
    if found.state is MigrationState.PENDING and behind is not None:
        sentence = f"data migration {name} waits for {behind} in {database.name}"
        return Blocker("data_migration_pending", sentence, f"It starts by itself when {behind} is complete.", place)
    if found.state is MigrationState.FAILED:
        mend = "Stop whatever writes only the old shape, and mend" if found.differences else "Mend"
        return Blocker(
            "data_migration_failed",
            f"data migration {name} stopped in {database.name}: {found.error or 'no error was recorded'}"
            f"{_of_a_retry(view, found)}",
            f"{mend} what it names, then: orchestrator data-migration retry {schema} {name}",
            place,
        )
    if found.state is MigrationState.COMPLETE:
        return Blocker(
            "witness_stale",
            f"data migration {name} was verified on another incarnation of {database.name}",
            f"orchestrator data-migration retry {schema} {name} --database {database.name}",
            place,
        )
    doing = "verified" if found.state is MigrationState.VERIFYING else "moved"
    rows = found.rows_verified if found.state is MigrationState.VERIFYING else found.rows_done
    known = known_total(found.rows_total, rows)
    total = "" if known is None else f" of {known}"
    return Blocker(
        "data_migration_running",
        f"data migration {name} is {found.state.value} in {database.name}: {rows}{total} rows {doing}",
        _how_it_goes_on(view, name, database.name),
        place,
    )


def _of_a_retry(view: View, found: MigrationFacts) -> str:
    """What a retry would do, where that is less than to move all rows again."""
    if found.rows_to_repair is None or view.upgrade.phase is not Phase.BACKFILL:
        return ""
    return f". With the same file a retry moves {found.rows_to_repair} rows again, and compares all"


def _how_it_goes_on(view: View, name: str, database: str) -> str:
    upgrade = view.upgrade
    look = f"orchestrator data-migration show {upgrade.schema} {name}"
    if upgrade.phase <= Phase.BACKFILL:
        return how_rows_go_on(view, database, f"It goes on by itself: {look}")
    if not upgrade.old_valid:
        return (
            "Rows only move in backfill, and the old shape is stale by now: restore a newer backup of the database, or "
            "put its rows right by hand and have them proven: "
            f"orchestrator data-migration retry {upgrade.schema} {name} --database {database}"
        )
    return f"Rows only move in backfill: {again_from(upgrade, Phase.BACKFILL)}"


def how_rows_go_on(view: View, database: str, by_itself: str) -> str:
    """What lets rows that wait in that database go on, where that is more than time; `by_itself` where it is not."""
    reasons = view.waits.get(database, ())
    more = remedy_of(reasons, view.upgrade.schema, database)
    if more and any(reason.is_unreadable for reason in reasons):
        return more
    return f"{by_itself}. {more}".removesuffix(". ")


def _how_it_is_entered(view: View, database: str) -> str:
    """The expand step enters it in the ledger: one that is not there was lost, or its database was added since."""
    again = again_from(view.upgrade, Phase.BASE)
    if again:
        return f"Its ledger does not know it. Run the expand step again, which enters it: {again}"
    return (
        f"Its ledger does not know it. If {database} was added since the upgrade began, take it out of "
        f"[schema:{view.upgrade.schema}] databases until the upgrade has ended, and restart the daemon; else restore "
        "there, from a backup, the tables that begin with orchestrator_."
    )
