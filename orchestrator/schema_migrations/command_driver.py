"""The command driver: a schema whose service brings its own migration tool, run through that tool's commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.bookkeeping.tables import is_bookkeeping_table
from orchestrator.dialects import Database
from orchestrator.domain.errors import ConfigurationError, Conflict, StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.domain.releases import Releases
from orchestrator.ports import StepWatch
from orchestrator.schema_migrations.command_lock import command_lock
from orchestrator.schema_migrations.command_process import Command
from orchestrator.schema_migrations.command_tool import CommandSettings, Stand, Tool
from orchestrator.schema_migrations.manifest import MANIFEST_NAME, load_manifest
from orchestrator.schema_migrations.phase_guard import Warning_
from orchestrator.schema_migrations.places import Place, line_of
from orchestrator.schema_migrations.preset import CommandTemplate, Meaning, Preset, load_preset
from orchestrator.schema_migrations.runner import PlannedRevision, Position
from orchestrator.schema_migrations.sealing import PlannedTrigger
from orchestrator.schema_migrations.step_plan import ADOPTED, INSTALL

_BELIEVED_SECONDS = 60.0
"""For how long the check's answer is kept where no version table shows a change."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What we see in a database ourselves. `heads` are the rows of the tool's version table."""

    heads: tuple[str, ...]
    empty: bool


@dataclass(frozen=True, slots=True)
class _Believed:
    """What the tool said of a database that had these heads."""

    heads: tuple[str, ...]
    stand: Stand
    at: float


@dataclass(frozen=True, slots=True)
class _Work:
    """One command of a step, with the name under which the journal has it."""

    name: str
    template: CommandTemplate
    is_done: Callable[[Stand], bool]


class CommandDriver:
    """One schema as `releases.toml` and a preset describe it.

    A step counts as done when the preset's check says so and the version table of the database agrees; a command's
    own exit code can only make it fail. Both files are read once, when this is made; raises `ManifestError` with
    file, line and remedy. Safe to use from several threads on several databases.
    """

    def __init__(self, settings: CommandSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        if settings.preset is None:
            raise ConfigurationError(
                "preset_missing",
                f"schema {settings.name} has driver = command, but no preset",
                remedy=f"Write preset = keystone, or the path of your own, in [schema:{settings.name}].",
                schema=settings.name,
            )
        manifest = load_manifest(
            settings.migrations.absolute() / MANIFEST_NAME, schema=settings.name, brings_own_tool=True
        )
        self.schema = settings.name
        self.releases: Releases = manifest.releases
        self.preset: Preset = load_preset(settings.preset)
        self._tool = Tool(settings, self.preset, clock=clock)
        self._clock = clock
        self._believed: dict[tuple[str, str], _Believed] = {}

    def check(self, release: str) -> tuple[Warning_, ...]:
        """Whether the tool is there and is the one of that release; without a database.

        What its migrations do is for its authors to judge: it is not looked at. Raises `ConfigurationError`,
        `Conflict` (codes `tool_version_wrong`, `check_untrusted`), `StepFailed`.
        """
        version = self._tool.refuse_other_version(self.releases[release].name)
        if self._tool.trusts_check(version):
            return ()
        if self.preset.release(release) is None:
            raise self._untrusted(release, version)
        place = Place(self.preset.path, line_of(self.preset.path.read_text(encoding="utf-8"), r"^\s*trusted_from"))
        return (
            Warning_(
                release,
                place,
                f"the check of version {version} cannot be trusted; only the version table is believed",
                f"Nothing to do; from version {self.preset.trusted_from} on both are asked.",
            ),
        )

    def surroundings(self, database: Database, release: str) -> Command:
        """Where code of the service at that release runs on that database: prefix, environment, secrets; no words."""
        return self._tool.surroundings(database, release)

    def may_add(self, database: Database, release: str, table: str, column: str) -> bool:
        """What its migrations do is not looked at."""
        return True

    def check_database(self, database: Database, release: str) -> None:
        """Nothing is asked of a database beforehand."""

    def plan_sealing(self, database: Database, release: str, step: Step) -> tuple[PlannedTrigger, ...]:
        """Nothing: which part of its tables is the old shape, only the tool knows."""
        return ()

    def plan(self, database: Database, release: str, step: Step) -> tuple[PlannedRevision, ...]:
        """The commands that the step would run in that database now; empty when it is done. Changes nothing.

        Rests on what `position` knows, so that a look does not cost a start of the tool. Raises what `run` would raise
        for the position.
        """
        found = self.releases[release]
        if step is Step.NONE:
            return ()
        reading = self._read(database)
        self._refuse_empty(database, step, reading)
        stand = self._seen(database, found.name, reading)
        _refuse_early_contract(database, release, step, stand)
        return tuple(
            PlannedRevision(
                id=release,
                stage=work.name,
                file=str(self.preset.path),
                summary=self._tool.words(work.template, database, release),
            )
            for work in self._todo(step, stand)
        )

    def versions(self, database: Database) -> tuple[str, ...]:
        """The rows of the version table, none where the tool has none."""
        with database.reading() as connection:
            return self._heads(connection)

    def position(self, database: Database, release: str) -> Position:
        """Where that database stands, seen from one release.

        The tool is asked once for each change of the version table, since it takes seconds to start, and not at all
        while the version table shows that the release is not there yet.
        """
        found = self.releases[release]
        reading = self._read(database)
        if reading.empty:
            return Position(reading.heads, expanded=False, contracted=False, empty=True, versions=reading.heads)
        stand = self._seen(database, found.name, reading)
        return Position(reading.heads, stand.expanded, stand.contracted, empty=False, versions=reading.heads)

    def run(
        self, database: Database, release: str, step: Step, *, owner_epoch: int, watch: StepWatch | None = None
    ) -> tuple[str, ...]:
        """Run the step's commands in that database and verify their effect; returns the new heads.

        Repeatable: a step that is done already runs nothing and returns nothing. Never runs two commands of a schema
        in one database at a time, not even when the daemon that started one was killed. What its commands wait for
        nobody knows, so `watch` is told nothing. Raises `StepFailed`,
        `Conflict`, `Unavailable`, `ConfigurationError`.
        """
        if step is Step.NONE:
            return ()
        with command_lock(database, self.schema) as descriptors:
            before = self._read(database)
            version = self._tool.refuse_other_version(self.releases[release].name)
            self._refuse_empty(database, step, before)
            stand = self._verified(database, release, version, before)
            _refuse_early_contract(database, release, step, stand)
            todo = self._todo(step, stand)
            for work in todo:
                self._perform(work, database, release, version, owner_epoch, descriptors)
            after = self._read(database)
            if not todo:
                return ()
            self._refuse_contracted(step, database, release, before, after)
            return tuple(head for head in after.heads if head not in before.heads) or tuple(w.name for w in todo)

    def install(self, database: Database, release: str) -> tuple[str, ...]:
        """Make an empty database one of that release with the tool's own command. Repeatable.

        Raises `Conflict` (code `database_not_empty`) and what `run` raises.
        """
        with command_lock(database, self.schema) as descriptors:
            if not self._read(database).empty:
                raise Conflict(
                    "database_not_empty",
                    f"database {database.name} is not empty",
                    remedy=f"If it is at release {release}, adopt it; otherwise empty it first.",
                    database=database.name,
                    release=release,
                )
            version = self._tool.refuse_other_version(self.releases[release].name)
            work = _Work(INSTALL, self.preset.install, lambda stand: stand.expanded and stand.contracted)
            self._perform(work, database, release, version, 0, descriptors)
            return self._read(database).heads

    def adopt(self, database: Database, release: str) -> None:
        """Take over a database that stands exactly at that release. Repeatable; changes nothing but our journal.

        Raises `Conflict` (code `not_at_release`).
        """
        found = self.releases[release]
        with command_lock(database, self.schema):
            reading = self._read(database)
            known = self.preset.release(found.name)
            if known is not None and set(reading.heads) <= self._known_heads():
                at_release = set(reading.heads) == {known.expand, known.contract}
            else:
                stand = self._ask(database, release, reading)
                at_release = stand.expanded and stand.contracted
            if not at_release or reading.empty:
                raise Conflict(
                    "not_at_release",
                    f"database {database.name} is not at release {release}: its version table says "
                    f"{', '.join(reading.heads) or 'nothing'}"
                    + (f", the release ends at {known.expand}, {known.contract}" if known else ""),
                    remedy="Name the release that it is at; if it lies between two, bring it to one with its own "
                    "tool first.",
                    database=database.name,
                    release=release,
                )
            with database.writing() as connection:
                now = database.dialect.now(connection)
                there = {entry.revision for entry in journal.entries(connection, self.schema)}
                entry = self._entry(f"{release}:{ADOPTED}", ADOPTED, 0, now, finished_at=now)
                if entry.revision not in there:
                    journal.record(connection, [entry])

    # -- where a database stands ---------------------------------------------------------------------------------------

    def _read(self, database: Database) -> _Reading:
        table = self.preset.version_table
        with database.reading() as connection:
            heads = self._heads(connection)
            names = sa.inspect(connection).get_table_names()
            there = any(not is_bookkeeping_table(name) and name != table for name in names)
            installing = journal.exists(connection) and any(
                entry.stage == INSTALL and entry.state is JournalState.INTENT
                for entry in journal.entries(connection, self.schema)
            )
        return _Reading(heads, empty=installing or not (there or heads))

    def _heads(self, connection: sa.Connection) -> tuple[str, ...]:
        if self.preset.version_table is None:
            return ()
        context = MigrationContext.configure(connection, opts={"version_table": self.preset.version_table})
        return tuple(sorted(context.get_current_heads()))

    def _by_heads(self, release: str, heads: tuple[str, ...]) -> Stand | None:
        """What the version table says, None where the preset does not know the release or one of these heads."""
        known = self.preset.release(release)
        if known is None or not heads or not set(heads) <= self._known_heads():
            return None
        later = self.preset.known[self.preset.known.index(known) :]
        return Stand(
            expanded=any(each.expand in heads for each in later),
            migrated=True,
            contracted=any(each.contract in heads for each in later),
        )

    def _known_heads(self) -> frozenset[str]:
        return frozenset(head for each in self.preset.known for head in (each.expand, each.contract))

    def _seen(self, database: Database, release: str, reading: _Reading) -> Stand:
        """What the version table rules out, or was verified of these heads before; else verify it now."""
        stand = self._by_heads(release, reading.heads)
        if stand is not None and not stand.expanded:
            return stand
        believed = self._believed.get((database.name, release))
        if believed is None or believed.heads != reading.heads:
            return self._ask(database, release, reading)
        is_fresh = bool(reading.heads) or self._clock() - believed.at < _BELIEVED_SECONDS
        return believed.stand if is_fresh else self._ask(database, release, reading)

    def _ask(self, database: Database, release: str, reading: _Reading) -> Stand:
        return self._verified(database, release, self._tool.refuse_other_version(release), reading)

    def _verified(self, database: Database, release: str, version: str | None, reading: _Reading) -> Stand:
        """What the tool, which has that version, and the version table agree on. Raises `StepFailed` if they do not."""
        by_heads = self._by_heads(release, reading.heads)
        if self._tool.trusts_check(version):
            stand = self._tool.stand(database, release)
            if by_heads is not None and (by_heads.expanded, by_heads.contracted) != (stand.expanded, stand.contracted):
                raise self._disputed(database, release, reading, stand)
        elif by_heads is not None:
            stand = by_heads
        else:
            raise self._untrusted(release, version)
        self._believed[(database.name, release)] = _Believed(reading.heads, stand, self._clock())
        return stand

    def _refuse_empty(self, database: Database, step: Step, reading: _Reading) -> None:
        if reading.empty:
            raise Conflict(
                "database_empty",
                f"database {database.name} is empty: there is nothing to {step.value}",
                remedy=f"Install a release in it first: orchestrator schema init {self.schema} --release ...",
                database=database.name,
            )

    def _todo(self, step: Step, stand: Stand) -> tuple[_Work, ...]:
        """The commands of a step that are still to be run, in their order.

        Data that the service moves itself is moved just before contract: nobody old is left by then.
        """
        if step is Step.EXPAND:
            works = [_Work("expand", self.preset.expand, lambda stand: stand.expanded)]
        else:
            works = [_Work("contract", self.preset.contract, lambda stand: stand.contracted)]
            if self.preset.migrate is not None and not stand.contracted:
                works.insert(0, _Work("migrate", self.preset.migrate, lambda stand: stand.migrated))
        tells_migrated = any(
            rule.meaning is Meaning.MIGRATE_NEEDED
            for rule in (*self.preset.check.exit_codes, *self.preset.check.outputs)
        )
        return tuple(
            work for work in works if not work.is_done(stand) or (work.name == "migrate" and not tells_migrated)
        )

    # -- running -------------------------------------------------------------------------------------------------------

    def _perform(
        self,
        work: _Work,
        database: Database,
        release: str,
        version: str | None,
        owner_epoch: int,
        descriptors: tuple[int, ...],
    ) -> None:
        """Intent, command, verification, mark."""
        name = f"{release}:{work.name}" + (f"@{version}" if version else "")
        before = self._read(database)
        words = self._tool.words(work.template, database, release)
        with database.writing() as connection:
            now = database.dialect.now(connection)
            try:
                journal.intend(connection, self._entry(name, work.name, owner_epoch, now))
            except Conflict as conflict:
                if conflict.code != "step_done":
                    raise
                raise StepFailed(
                    "step_undone",
                    f"`{words}` was done in database {database.name}, but the tool says now that it is needed",
                    remedy="Somebody changed the schema by hand, or restored a part of the database. Put it right with "
                    "the tool itself, then retry.",
                    database=database.name,
                ) from conflict
        self._believed.pop((database.name, release), None)
        self._tool.perform(work.template, database, release, kept_open=descriptors)
        after = self._read(database) if work.name != INSTALL else self._read_installed(database)
        self._refuse_other_database(work, database, words, before, after)
        if not work.is_done(self._verified(database, release, version, after)):
            raise StepFailed(
                "step_unverified",
                f"`{words}` ended well in database {database.name}, but "
                f"`{self._tool.words(self.preset.check, database, release)}` says that it is still needed",
                remedy="Nothing was marked done. Find out with the tool itself what is missing, then retry.",
                database=database.name,
            )
        with database.writing() as connection:
            now = database.dialect.now(connection)
            journal.finish(connection, self.schema, name, owner_epoch=owner_epoch, now=now)

    def _read_installed(self, database: Database) -> _Reading:
        """As `_read`, for an install whose intent is still open."""
        return _Reading(self._read(database).heads, empty=False)

    def _refuse_other_database(
        self, work: _Work, database: Database, words: str, before: _Reading, after: _Reading
    ) -> None:
        """A tool that reads a configuration of its own may be at work in another database, and find all well there."""
        if self.preset.version_table is None or work.name == "migrate" or after.heads != before.heads:
            return
        raise StepFailed(
            "version_table_unmoved",
            f"`{words}` ended well, but {self.preset.version_table} in database {database.name} is as it was",
            remedy="The tool's configuration probably names another database: make it the same one, then retry.",
            database=database.name,
        )

    def _refuse_contracted(
        self, step: Step, database: Database, release: str, before: _Reading, after: _Reading
    ) -> None:
        """Expand must not have removed anything; some tools do, on databases that they take for new."""
        known = self.preset.release(release)
        if step is Step.EXPAND and known and known.contract in after.heads and known.contract not in before.heads:
            raise StepFailed(
                "contract_in_expand",
                f"the expand command of {self.schema} also contracted database {database.name}",
                remedy="Instances of the old release may fail from now on: roll them to the new one at once, then "
                "report the fault to the tool's authors.",
                database=database.name,
            )

    def _entry(
        self, name: str, stage: str, owner_epoch: int, now: float, *, finished_at: float | None = None
    ) -> JournalEntry:
        return JournalEntry(
            schema_name=self.schema,
            revision=name,
            stage=stage,
            file_hash=self.preset.file_hash,
            state=JournalState.INTENT if finished_at is None else JournalState.DONE,
            owner_epoch=owner_epoch,
            started_at=now,
            finished_at=finished_at,
        )

    # -- refusing ------------------------------------------------------------------------------------------------------

    def _untrusted(self, release: str, version: str | None) -> Conflict:
        return Conflict(
            "check_untrusted",
            f"the check of version {version} cannot be trusted, and where release {release} ends is not known",
            remedy=f"Add a [[release]] with its heads to a copy of {self.preset.path}, or upgrade to version "
            f"{self.preset.trusted_from} or later.",
            release=release,
            version=version,
        )

    def _disputed(self, database: Database, release: str, reading: _Reading, stand: Stand) -> StepFailed:
        says = "contracted" if stand.contracted else "expanded" if stand.expanded else "not expanded"
        return StepFailed(
            "position_disputed",
            f"`{self._tool.words(self.preset.check, database, release)}` says that release {release} is {says}, but "
            f"the version table of database {database.name} says {', '.join(reading.heads) or 'nothing'}",
            remedy="The tool's configuration probably names another database: make it the same one, then retry.",
            database=database.name,
            heads=list(reading.heads),
        )


def _refuse_early_contract(database: Database, release: str, step: Step, stand: Stand) -> None:
    if step is Step.CONTRACT and not stand.expanded:
        raise Conflict(
            "expand_first",
            f"release {release} cannot contract in database {database.name}: it is not expanded there",
            remedy="Run expand first.",
            database=database.name,
            release=release,
        )
