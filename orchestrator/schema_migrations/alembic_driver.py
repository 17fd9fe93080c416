"""The Alembic driver: everything that can be done with a schema whose releases are revisions of a migration tree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from orchestrator.bookkeeping import journal, tables
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.dialects import Database
from orchestrator.dialects.triggers import SyncTrigger
from orchestrator.domain.errors import Conflict, StepFailed
from orchestrator.domain.ladder import Stage, Step
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.removals import listed
from orchestrator.ports import StepWatch
from orchestrator.schema_migrations import old_shape, strays
from orchestrator.schema_migrations.catalog import differences
from orchestrator.schema_migrations.changes import Act
from orchestrator.schema_migrations.expectations import Expectation, ExpectedCatalog
from orchestrator.schema_migrations.manifest import MANIFEST_NAME, load_manifest
from orchestrator.schema_migrations.mending import gone, losses
from orchestrator.schema_migrations.old_shape import OldThing, refuse_missing_rights, refuse_unsealable
from orchestrator.schema_migrations.online_context import commits_alone
from orchestrator.schema_migrations.phase_guard import Novelty, Warning_
from orchestrator.schema_migrations.promises import Promises, of_expand, of_whole_tree
from orchestrator.schema_migrations.recording import Recordings, untold
from orchestrator.schema_migrations.release_guard import judge_release
from orchestrator.schema_migrations.runner import PlannedRevision, Position, Runner
from orchestrator.schema_migrations.sealing import NO_TRIGGERS, PlannedTrigger, Sealing, seal_state
from orchestrator.schema_migrations.step_plan import (
    ADOPTED,
    INSTALL,
    Reading,
    applied_revisions,
    plan_adoption,
    plan_install,
    plan_step,
    ran_in,
    refuse_run_by_hand,
)
from orchestrator.schema_migrations.sync_definitions import left_standing
from orchestrator.schema_migrations.tree import STAGES, Revision, Tree
from orchestrator.schema_migrations.waiting import Patience


class AlembicDriver:
    """One schema as its directory describes it: `releases.toml`, `expand/`, `contract/`, `data/`.

    The directory is read once, when this is made; raises `ManifestError` with file, line and remedy. Safe to use from
    several threads on several databases.
    """

    def __init__(
        self,
        directory: Path,
        *,
        schema: str,
        version_table: str = "alembic_version",
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        directory = directory.absolute()
        manifest = load_manifest(directory / MANIFEST_NAME, schema=schema)
        self.tree = Tree(directory, manifest)
        self.schema = schema
        self.releases: Releases = manifest.releases
        patience = patience or Patience()
        self._version_table = version_table
        self._runner = Runner(self.tree, version_table=version_table, patience=patience, sleep=sleep)
        self._sealing = Sealing(schema, patience, sleep=sleep)
        self._recordings = Recordings(self.tree)
        self._judged: dict[str, tuple[Warning_, ...]] = {}
        self._expected: dict[tuple[str, frozenset[str], str], tuple[Expectation, ...]] = {}
        self._newest_tables: dict[str, tuple[tuple[str | None, str], ...]] = {}
        self._promises: dict[tuple[str, str], Promises] = {}
        self._ran: dict[str, Mapping[str, str]] = {}  # in each database, as last read: revisions and their files

    def check(self, release: str) -> tuple[Warning_, ...]:
        """Judge every revision that a release adds, without a database. Returns what is allowed and may hurt.

        Raises `MigrationRefused` with file, line and remedy for the first change that breaks a rule of its stage.
        """
        if release not in self._judged:
            self._judged[release] = tuple(judge_release(self.tree, self._recordings, self.releases[release]))
        return self._judged[release]

    def may_add(self, database: Database, release: str, table: str, column: str) -> bool:
        """Whether the release's expand revisions may give that table a column, as far as can be told without running
        them."""
        key = release, database.dialect.name
        if key not in self._promises:
            self._promises[key] = of_expand(self.tree, self._recordings, self.releases[release], key[1])
        return self._promises[key].may_add(table, column)

    def lacks(self, release: str, table: str, column: str) -> bool:
        """Whether the tree makes that table, and leaves it without the column when the release is expanded."""
        return of_whole_tree(self.tree, self._recordings, self.releases[release]).lacks(table, column)

    def check_database(self, database: Database, release: str) -> None:
        """Refuse what that database could not be sealed for, before anything of the release runs there.

        Raises `MigrationRefused` with the line of the manifest: something of the old shape that is not there or cannot
        be denied, or a right that we lack. Code `not_in_journal` where somebody has run its revisions by hand.
        """
        found = self.releases[release]
        with database.reading() as connection:
            refuse_run_by_hand(self.tree, found, self._read(database, connection))
        if not found.profile.seals and not self._syncs(found, database):
            return
        with database.reading() as connection:
            if not self._is_contracting(found, connection):
                self._refuse_unsealable(found, database, connection)

    def plan_sealing(self, database: Database, release: str, step: Step) -> tuple[PlannedTrigger, ...]:
        """What sealing or unsealing would do in that database now; nothing when it is done. Changes nothing.

        Raises `MigrationRefused` for every reason for which `run` would refuse.
        """
        self.check(release)
        found = self.releases[release]
        with database.reading() as connection:
            if step is Step.SEAL:
                self._refuse_unsealable(found, database, connection)
            return self._sealing.plan(connection, database, found, self._syncs(found, database), step)

    def plan(self, database: Database, release: str, step: Step) -> tuple[PlannedRevision, ...]:
        """What the step would run in that database now, in its order, `depends_on` included; empty when it is done.

        Changes nothing. Raises `MigrationRefused` or `Conflict` for every reason for which `run` would refuse.
        """
        found = self.releases[release]
        if step is not Step.NONE:
            self.check(release)
        todo = self._decide(database, lambda reading: plan_step(self.tree, found, step, reading))
        return tuple(self._planned(revision, todo) for revision in todo)

    def versions(self, database: Database) -> tuple[str, ...]:
        """The rows of the version table. Cheap: whoever remembers a position sees by it that it is another one."""
        with database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": self._version_table})
            return tuple(sorted(context.get_current_heads()))

    def position(self, database: Database, release: str) -> Position:
        """Where that database stands, seen from one release, by its version table, its journal and its catalog.

        Raises `MigrationRefused` (code `database_ahead`) where it has a revision that this tree has not.
        """
        found = self.releases[release]
        with database.reading() as connection:
            reading = self._read(database, connection)
            if reading.is_empty or reading.unfinished_install:
                return Position(reading.versions, False, False, empty=True, versions=reading.versions)
            self._refuse_unknown(found, reading)
            heads, applied = self.tree.applied(reading.versions)
            wrong = differences(connection, self._expectations(found, applied, database))
            is_run = self._there(found, Stage.EXPAND, applied, reading)
            is_contracting = self._is_contracting(found, connection)
            triggers = NO_TRIGGERS
            things: tuple[str, ...] = ()
            if is_run:  # before, there is nothing to read, which would wait for whoever holds a table
                triggers = seal_state(
                    connection,
                    database,
                    self.schema,
                    found,
                    self._syncs(found, database),
                    contracting=is_contracting,
                )
                if found.profile.seals and not is_contracting:
                    things = old_shape.gone(connection, database.dialect, found)
        expanded = not wrong and is_run
        contracted = expanded and self._there(found, Stage.CONTRACT, applied, reading)
        return Position(
            heads,
            expanded,
            contracted,
            empty=False,
            differences=wrong,
            triggers=triggers,
            versions=reading.versions,
            strays=strays.strays(self.tree, reading),
            lacks=() if expanded else strays.lacks(self.tree, found, reading, wrong),
            removal=strays.removal(self.tree, found, reading, things, self._version_table),
        )

    def run(
        self, database: Database, release: str, step: Step, *, owner_epoch: int, watch: StepWatch | None = None
    ) -> tuple[str, ...]:
        """Run the step in that database; returns the ids of the revisions that ran, none when it was done already.

        Refuses before the first statement whatever `plan` refuses. Repeatable: broken off anywhere, the next call
        goes on after the last revision that was marked done. Raises `StepFailed`, `Unavailable`, `Conflict`,
        `MigrationRefused`.
        """
        if step in (Step.SEAL, Step.UNSEAL):
            return self._seal(database, self.releases[release], step, owner_epoch, watch)
        if not self.plan(database, release, step):
            self._settle(database, self.releases[release], step, owner_epoch, watch)
            self._refuse_gone(database, self.releases[release], step)
            return ()
        ended: set[object] = set()
        while True:
            try:
                ran = self._run_rest(database, self.releases[release], step, owner_epoch, watch)
                self._settle(database, self.releases[release], step, owner_epoch, watch)
                self._refuse_gone(database, self.releases[release], step)
                return ran
            except Conflict as conflict:  # on a cluster, where locks end at one node, another owner may have ended it
                revision = conflict.fields.get("revision")
                if conflict.code != "step_done" or revision in ended:
                    raise
                ended.add(revision)

    def _seal(
        self, database: Database, found: Release, step: Step, owner_epoch: int, watch: StepWatch | None
    ) -> tuple[str, ...]:
        self.plan_sealing(database, found.name, step)
        syncs = self._syncs(found, database)
        with self._runner.alone(database) as connection:
            return self._sealing.run(database, connection, found, syncs, step, owner_epoch=owner_epoch, watch=watch)

    def _make_way(
        self,
        database: Database,
        connection: sa.Connection,
        release: Release,
        step: Step,
        owner_epoch: int,
        revision: Revision,
    ) -> None:
        if step is Step.CONTRACT:
            recording = self._recordings.of(revision, database.dialect.name)
            self._sealing.make_way(connection, database, release, recording, owner_epoch)

    def _settle(
        self, database: Database, release: Release, step: Step, owner_epoch: int, watch: StepWatch | None
    ) -> None:
        """What is left to do with triggers when the revisions have run: those that keep in step are made again where
        one is not as it was made; what sealing has left behind is removed when the old shape is gone."""
        syncs = self._syncs(release, database)
        if (step is Step.EXPAND and not syncs) or (step is Step.CONTRACT and not release.old_shape):
            return
        what = Step.UNSEAL if step is Step.CONTRACT else step
        with database.reading() as connection:
            if not self._sealing.plan(connection, database, release, syncs, what):
                return
        with self._runner.alone(database) as connection:
            self._sealing.run(database, connection, release, syncs, what, owner_epoch=owner_epoch, watch=watch)

    def _run_rest(
        self, database: Database, found: Release, step: Step, owner_epoch: int, watch: StepWatch | None
    ) -> tuple[str, ...]:
        with self._runner.alone(database) as connection:
            todo = self._decide(database, lambda reading: plan_step(self.tree, found, step, reading))
            try:
                return self._runner.run(
                    database,
                    connection,
                    todo,
                    owner_epoch=owner_epoch,
                    novelty=self._novelty_before(found, todo, database),
                    leaving=self._leaving(todo),
                    watch=watch,
                    before=partial(self._make_way, database, connection, found, step, owner_epoch),
                )
            except StepFailed as failed:
                raise self._with_those_that_ran_it(failed, database) from failed

    def _with_those_that_ran_it(self, failed: StepFailed, database: Database) -> StepFailed:
        """The failure of a revision, which may not be told to change a file that ran elsewhere."""
        elsewhere = {name: ran for name, ran in self._ran.copy().items() if name != database.name}
        others = ran_in(str(failed.fields.get("revision")), elsewhere)
        if failed.code not in ("revision_failed", "effect_missing") or not others:
            return failed
        remedy = (
            f"It ran in {listed(others)} already, so leave its file as it is: mend by hand what it says in "
            f"{database.name}. Nothing was marked done; what it has done and could not be undone is not done again. If "
            f"the file has to change: cancel the upgrade, take the revision back by hand in {listed(others)}, "
            "and begin again."
        )
        return StepFailed(failed.code, failed.message, remedy=remedy, **failed.fields)

    def install(self, database: Database, release: str) -> tuple[str, ...]:
        """Make an empty database one of that release: both branches, release by release; nobody is there yet.

        Repeatable, and goes on where it was broken off. Raises `Conflict` (code `database_not_empty`).
        """
        found = self.releases[release]
        with self._runner.alone(database) as connection:
            todo = self._decide(database, lambda reading: plan_install(self.tree, found, reading))
            self._runner.intend_all(database, connection, todo, owner_epoch=0)
            return self._runner.run(
                database,
                connection,
                todo,
                owner_epoch=0,
                novelty=None,
                leaving=self._leaving(todo),
                way=INSTALL,
            )

    def adopt(self, database: Database, release: str) -> None:
        """Take over a database that another tool brought to exactly that release: journal its revisions as done.

        Repeatable. Raises `Conflict`: code `not_at_release` if its version table says anything else,
        `catalog_differs` if the catalog is not as the revisions say.
        """
        found = self.releases[release]
        with self._runner.alone(database) as connection:
            todo = self._decide(database, lambda reading: plan_adoption(self.tree, found, reading))
            with connection.begin():
                catalog = self._folded(self.tree.closure(self.tree.heads(found)), database)
                wrong = differences(connection, catalog.expectations())
                now = database.dialect.now(connection)
            if wrong:
                raise Conflict(
                    "catalog_differs",
                    f"database {database.name} is not as release {release} leaves it: {'; '.join(wrong)}",
                    remedy="Put right what differs, or name the release that it is really at.",
                    database=database.name,
                    release=release,
                    differences=list(wrong),
                )
            with connection.begin():
                journal.record(connection, (self._adopted(revision, now) for revision in todo))

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, database: Database, connection: sa.Connection) -> Reading:
        reading = self._runner.read(database, connection, self._tables(database))
        self._ran[database.name] = reading.files
        others = {name: ran for name, ran in self._ran.copy().items() if name != database.name}
        return replace(reading, elsewhere=others)

    def _decide(self, database: Database, decide: Callable[[Reading], tuple[Revision, ...]]) -> tuple[Revision, ...]:
        """Read and decide; whoever runs what was decided holds the schema's lock meanwhile.

        On a connection of its own: one for DDL takes SQLite's write lock when it begins.
        """
        with database.reading() as connection:
            reading = self._read(database, connection)
        todo = decide(reading)
        self._refuse_without_journal(todo, reading)
        self._refuse_untold(todo, database)
        return todo

    def _refuse_untold(self, todo: tuple[Revision, ...], database: Database) -> None:
        for revision in todo:
            recording = self._recordings.of(revision, database.dialect.name)
            if recording.control is not None:
                raise recording.control
            for raw in recording.untold:
                if commits_alone(database.dialect, in_block=raw.in_block):
                    raise untold(revision, raw.statement.place, raw.statement.text)

    def _refuse_gone(self, database: Database, release: Release, step: Step) -> None:
        """Revisions that ran are not run again: what somebody has taken away of them since has to be made by hand."""
        if step is not Step.EXPAND:
            return
        with database.reading() as connection:
            applied = self.tree.applied(self._read(database, connection).versions).ids
            expected = self._expectations(release, applied, database)
            dialect = database.dialect.name
            found = losses(connection, expected, lambda revision: self._recordings.of(self.tree[revision], dialect))
        if found:
            raise gone(database.name, found, lambda revision: self.tree[revision])

    def _refuse_without_journal(self, todo: tuple[Revision, ...], reading: Reading) -> None:
        creates_it = any(
            change.act is Act.CREATE_TABLE and change.table == tables.steps.name
            for revision in todo[:1]
            for change in self._recordings.of(revision).changes
        )
        if reading.journal is None and not creates_it and todo:
            raise Conflict(
                "bookkeeping_missing",
                f"database {reading.database} has no journal yet",
                remedy="Prepare the orchestrator's own tables in it first.",
                database=reading.database,
            )

    def _refuse_unknown(self, release: Release, reading: Reading) -> None:
        if any(each not in self.tree for each in reading.versions):
            applied_revisions(self.tree, release, reading)  # it says why

    def _is_contracting(self, release: Release, connection: sa.Connection) -> bool:
        """Whether its contract revisions are under way there, or done."""
        own = {revision.id for revision in self.tree.own(release, Stage.CONTRACT)}
        entries = journal.entries(connection, self.schema) if journal.exists(connection) else ()
        return any(entry.revision in own for entry in entries)

    def _refuse_unsealable(self, release: Release, database: Database, connection: sa.Connection) -> None:
        manifest = self.tree.manifest
        refuse_unsealable(connection, database.dialect, manifest, release, database.name)
        things = [OldThing.read(written) for written in release.old_shape]
        tables = [(thing.schema, thing.table) for thing in things]
        tables += [(sync.schema, sync.table) for sync in self._syncs(release, database)]
        wanted = tuple(dict.fromkeys(tables))
        refuse_missing_rights(connection, database.dialect, manifest, release, wanted, database.name)

    def _syncs(self, release: Release, database: Database) -> tuple[SyncTrigger, ...]:
        """The sync triggers that the release's expand revisions leave behind."""
        own = self.tree.own(release, Stage.EXPAND)
        changes = (each for revision in own for each in self._recordings.of(revision, database.dialect.name).changes)
        return tuple(change.sync for change in left_standing(changes).values() if change.sync is not None)

    def _there(self, release: Release, stage: Stage, applied: frozenset[str], reading: Reading) -> bool:
        head = self.tree.head(release, stage)
        needed = frozenset() if head is None else self.tree.ids([head])
        return needed <= applied and needed <= reading.done

    # -- what revisions do ---------------------------------------------------------------------------------------------

    def _folded(self, revisions: Iterable[Revision], database: Database) -> ExpectedCatalog:
        catalog = ExpectedCatalog()
        for revision in revisions:
            catalog.add(revision.id, self._recordings.of(revision, database.dialect.name).changes)
        return catalog

    def _expectations(self, release: Release, applied: frozenset[str], database: Database) -> tuple[Expectation, ...]:
        """What the release's own revisions must have left behind, as far as no later revision changed it."""
        key = release.name, applied, database.dialect.name
        if key not in self._expected:
            own = {each.id for stage in STAGES for each in self.tree.own(release, stage) if each.id in applied}
            self._expected[key] = self._folded(self._in_release_order(applied), database).expectations(own)
        return self._expected[key]

    def _in_release_order(self, ids: frozenset[str]) -> tuple[Revision, ...]:
        """Revisions in the order in which upgrades run them: release by release, expand before contract."""
        ordered: dict[str, Revision] = {}
        for release in self.releases.ordered:
            for revision in self.tree.closure(self.tree.heads(release)):
                ordered.setdefault(revision.id, revision)
        return tuple(revision for revision in ordered.values() if revision.id in ids)

    def _tables(self, database: Database) -> tuple[tuple[str | None, str], ...]:
        """The tables of this schema at its newest release."""
        kind = database.dialect.name
        if kind not in self._newest_tables:
            catalog = self._folded(self._in_release_order(frozenset(each.id for each in self.tree)), database)
            present = (each for each in catalog.expectations() if each.present and not each.name)
            self._newest_tables[kind] = tuple((each.schema, each.table) for each in present)
        return self._newest_tables[kind]

    def _leaving(self, revisions: Iterable[Revision]) -> frozenset[str]:
        """Those that leave their transaction, and those of which it is not known."""
        recordings = ((each.id, self._recordings.of(each)) for each in revisions)
        return frozenset(id for id, each in recordings if each.leaves_transaction or each.stop is not None)

    def _planned(self, revision: Revision, todo: tuple[Revision, ...]) -> PlannedRevision:
        puller = next((each.id for each in todo if revision.id in each.depends), None)
        return PlannedRevision(
            id=revision.id,
            stage=revision.stage.value,
            file=str(revision.file),
            summary=revision.summary,
            changes=tuple(change.sentence for change in self._recordings.of(revision).changes),
            pulled_in_by=puller,
            acknowledged=revision.acknowledged,
        )

    def _adopted(self, revision: Revision, now: float) -> JournalEntry:
        return JournalEntry(
            schema_name=self.schema,
            revision=revision.id,
            stage=ADOPTED,
            file_hash=revision.file_hash,
            state=JournalState.DONE,
            owner_epoch=0,
            started_at=now,
            finished_at=now,
        )

    def _novelty_before(self, release: Release, todo: tuple[Revision, ...], database: Database) -> Novelty:
        """What the release had added before these revisions run."""
        novelty = Novelty()
        running = {revision.id for revision in todo}
        for revision in self.tree.own(release, Stage.EXPAND):
            if revision.id not in running:
                novelty.note(self._recordings.of(revision, database.dialect.name).changes)
        return novelty
