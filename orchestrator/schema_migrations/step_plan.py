"""The plan of a step: which revisions would run in one database, and every reason not to run any. Pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.domain.errors import Conflict, MigrationRefused
from orchestrator.domain.ladder import Stage, Step
from orchestrator.domain.releases import Release
from orchestrator.domain.removals import listed
from orchestrator.schema_migrations.places import refused
from orchestrator.schema_migrations.tree import Revision, Tree

INSTALL = "install"
ADOPTED = "adopted"
"""The journal's word for the way on which a revision came, where it is no step of an upgrade."""

_STAGE_OF = {Step.EXPAND: Stage.EXPAND, Step.CONTRACT: Stage.CONTRACT}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a database before anything is decided.

    `versions` are the rows of its version table, `journal` is None where it has no journal yet, `tables` are those of
    this schema's tables that exist, looked for only where there is no version. `elsewhere` says which revisions ran in
    the other databases of the schema, as far as that is known, and the hashes of the files that they ran from.
    """

    database: str
    versions: tuple[str, ...]
    journal: tuple[JournalEntry, ...] | None
    tables: tuple[str, ...]
    elsewhere: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def done(self) -> frozenset[str]:
        """The revisions that the journal calls done."""
        return frozenset(each.revision for each in self.journal or () if each.state is JournalState.DONE)

    @property
    def files(self) -> Mapping[str, str]:
        """The revisions that are done, each with the hash of the file that it ran from."""
        return {each.revision: each.file_hash for each in self.journal or () if each.state is JournalState.DONE}

    @property
    def unfinished_install(self) -> frozenset[str]:
        """The revisions that an install that was broken off still has to run."""
        return frozenset(
            each.revision for each in self.journal or () if each.stage == INSTALL and each.state is JournalState.INTENT
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing of this schema is there."""
        return not self.versions and not self.done and not self.tables


def plan_step(tree: Tree, release: Release, step: Step, reading: Reading) -> tuple[Revision, ...]:
    """The revisions that this step has to run here, in their order; none if it is done.

    Everything that they need is listed, `depends_on` included. Raises `MigrationRefused` or `Conflict`.
    """
    applied = applied_revisions(tree, release, reading, contracting=step is Step.CONTRACT)
    if reading.unfinished_install:
        raise Conflict(
            "install_unfinished",
            f"the install of {tree.manifest.releases.schema} in database {reading.database} was broken off",
            remedy="Install the same release again; it goes on where it stopped.",
            database=reading.database,
        )
    if step is Step.NONE:
        return ()
    stage = _STAGE_OF[step]
    head = tree.head(release, stage)
    if head is None:
        return ()
    if stage is Stage.CONTRACT:
        _refuse_before_expand(tree, release, applied)
    todo = tuple(revision for revision in tree.closure([head]) if revision.id not in applied)
    refuse_other_stage(todo, stage, release)
    if todo:
        _refuse_skipped(tree, release, applied, reading)
    _refuse_other_file(todo, reading)
    return todo


def plan_install(tree: Tree, release: Release, reading: Reading) -> tuple[Revision, ...]:
    """The revisions that make an empty database one of that release, release by release; none if it is one already.

    An install that was broken off goes on. Raises `Conflict` (code `database_not_empty`).
    """
    applied = applied_revisions(tree, release, reading)
    everything = tree.ids(tree.heads(release))
    unfinished = reading.unfinished_install
    if unfinished and unfinished | reading.done != everything:
        raise Conflict(
            "install_unfinished",
            f"the install of another release in database {reading.database} was broken off",
            remedy="Install that same release again, or begin with an empty database.",
            database=reading.database,
        )
    if not unfinished and not reading.is_empty:
        if applied == everything:
            return ()
        there = ", ".join((reading.tables or reading.versions)[:3])
        raise Conflict(
            "database_not_empty",
            f"database {reading.database} is not empty: it has {there}",
            remedy=f"If it is at release {release.name}, adopt it; if it is at an older one, initialise the schema "
            "with that release and upgrade.",
            database=reading.database,
            release=release.name,
        )
    ordered: dict[str, Revision] = {}
    for each in tree.manifest.releases.ordered[: tree.manifest.releases.index(release.name) + 1]:
        for revision in tree.closure(tree.heads(each)):
            ordered.setdefault(revision.id, revision)
    todo = tuple(revision for revision in ordered.values() if revision.id not in applied)
    _refuse_other_file(todo, reading)
    return todo


def plan_adoption(tree: Tree, release: Release, reading: Reading) -> tuple[Revision, ...]:
    """The revisions to write down as done: those of a database that stands exactly at this release.

    Raises `Conflict` (code `not_at_release`) where its version table says anything else.
    """
    _refuse_unknown(tree, release, reading)
    _refuse_changed(tree, reading)
    applied = tree.applied(reading.versions).ids
    if applied != tree.ids(tree.heads(release)):
        at = ", ".join(sorted(reading.versions)) or "no revision at all"
        wanted = ", ".join(tree.heads(release)) or "none"
        raise Conflict(
            "not_at_release",
            f"database {reading.database} is not at release {release.name}: its version table says {at}, "
            f"the release ends at {wanted}",
            remedy="Name the release that it is at; if it lies between two, bring it to one with its own tool first.",
            database=reading.database,
            release=release.name,
        )
    return tuple(revision for revision in tree.closure(tree.heads(release)) if revision.id not in reading.done)


def refuse_run_by_hand(tree: Tree, release: Release, reading: Reading) -> None:
    """Raise `MigrationRefused` where the release's own revisions are there and the journal does not know them."""
    own = {each.id for stage in (Stage.EXPAND, Stage.CONTRACT) for each in tree.own(release, stage)}
    journalled = {entry.revision for entry in reading.journal or ()}
    if all(version in tree for version in reading.versions):
        for revision in tree.closure(reading.versions):
            if revision.id in own - journalled:
                raise _not_in_journal(tree, revision, reading)


def applied_revisions(
    tree: Tree, release: Release, reading: Reading, *, contracting: bool = False
) -> frozenset[str]:
    """The revisions that are in the database, where its version table and its journal agree on them.

    Raises `MigrationRefused` where they do not, where one is unknown here, or where a file was changed since it ran.
    """
    _refuse_unknown(tree, release, reading)
    _refuse_changed(tree, reading)
    applied = tree.applied(reading.versions).ids
    if reading.journal is None and applied:
        first = tree[min(applied)]
        raise _not_in_journal(tree, first, reading)
    for revision in tree.closure(reading.versions):
        if revision.id not in reading.done:
            raise _not_in_journal(tree, revision, reading, contracting=contracting)
    for entry in reading.journal or ():
        if entry.state is JournalState.DONE and entry.revision not in applied:
            raise refused(
                "version_table_behind",
                tree[entry.revision].place,
                f"revision {entry.revision} was run in database {reading.database}, but its version table lacks it",
                remedy="Somebody changed the version table, or a part of the database was restored: put it right.",
                database=reading.database,
                revision=entry.revision,
            )
    return applied


def refuse_other_stage(todo: Iterable[Revision], stage: Stage, release: Release) -> None:
    """Raise `MigrationRefused` if one of these revisions, pulled in by another one, belongs to the other stage."""
    todo = tuple(todo)
    for revision in todo:
        if revision.stage is stage:
            continue
        puller = next((each for each in todo if revision.id in each.depends and each.stage is stage), None)
        place = revision.place if puller is None else puller.place_of("depends_on")
        by = "" if puller is None else f", pulled in by depends_on of {puller.id}"
        raise refused(
            f"{revision.stage.value}_in_{stage.value}",
            place,
            f"to {stage.value} to release {release.name} would also run {revision.stage.value} revision "
            f"{revision.id}{by}",
            remedy=(
                "End the upgrade to the release of that revision first; an empty database is installed, not expanded."
                if stage is Stage.EXPAND
                else f"Name that revision, or a later one, as the expand head of release {release.name}."
            ),
            revision=revision.id,
            release=release.name,
        )


def _refuse_unknown(tree: Tree, release: Release, reading: Reading) -> None:
    journalled = tuple(each.revision for each in reading.journal or ())
    for revision in (*reading.versions, *journalled):
        if revision not in tree:
            raise refused(
                "database_ahead",
                tree.manifest.place(release.name),
                f"database {reading.database} has revision {revision}, which is not in this tree: "
                "the database is ahead of the code, or belongs to another tree",
                remedy="Install the release of the service that brought that revision, here and on every daemon, and "
                "restart them.",
                database=reading.database,
                revision=revision,
            )


def ran_in(revision: str, elsewhere: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The other databases in which that revision ran."""
    return tuple(database for database, ran in elsewhere.items() if revision in ran)


def _refuse_other_file(todo: Iterable[Revision], reading: Reading) -> None:
    """One revision has one file in all databases: what runs from two of them can never be put right by a third."""
    for revision in todo:
        for database in ran_in(revision.id, reading.elsewhere):
            found = reading.elsewhere[database][revision.id]
            if found != revision.file_hash:
                raise refused(
                    "revision_differs",
                    revision.place,
                    f"revision {revision.id} ran in database {database} from another file (hash {found[:12]}) than "
                    f"this one (hash {revision.file_hash[:12]}), so it may not run in {reading.database}",
                    remedy="Put that file back, on every daemon, restart them, and mend by hand what is wrong in "
                    f"{reading.database}. Or cancel the upgrade, take the revision back by hand in "
                    f"{listed(ran_in(revision.id, reading.elsewhere))}, and begin again.",
                    database=reading.database,
                    revision=revision.id,
                )


def _refuse_changed(tree: Tree, reading: Reading) -> None:
    for entry in reading.journal or ():
        revision = tree[entry.revision]
        if entry.state is not JournalState.DONE or entry.file_hash == revision.file_hash:
            continue
        others = ran_in(revision.id, reading.elsewhere)
        agreeing = tuple(each for each in others if reading.elsewhere[each][revision.id] == revision.file_hash)
        if agreeing:
            raise refused(
                "revision_differs",
                revision.place,
                f"revision {revision.id} ran in database {reading.database} from another file "
                f"(hash {entry.file_hash[:12]}) than in {listed(agreeing)} (hash {revision.file_hash[:12]}, the file "
                "as it is now)",
                remedy=f"To keep this file: change {reading.database} by hand to what it makes, then there: UPDATE "
                f"orchestrator_steps SET file_hash = '{revision.file_hash}' WHERE schema_name = '{entry.schema_name}' "
                f"AND revision = '{revision.id}';",
                database=reading.database,
                revision=revision.id,
            )
        raise refused(
            "revision_changed",
            revision.place,
            f"revision {revision.id} was changed after it ran in database {reading.database}",
            remedy="Put the file back as it was, on every daemon, and restart them; what it should do besides goes "
            "into a new revision.",
            database=reading.database,
            revision=revision.id,
        )


def _refuse_before_expand(tree: Tree, release: Release, applied: frozenset[str]) -> None:
    head = tree.head(release, Stage.EXPAND)
    if head is not None and head not in applied:
        raise refused(
            "expand_first",
            tree.manifest.place(release.name, "expand"),
            f"release {release.name} cannot contract: its expand head {head} is not in the database",
            remedy="Run expand first.",
            revision=head,
            release=release.name,
        )


def _refuse_skipped(tree: Tree, release: Release, applied: frozenset[str], reading: Reading) -> None:
    """A release that was skipped hides its data migrations, so what lies between is never run on the way."""
    earlier = tree.earlier(release)
    if earlier is None:
        return
    for revision in tree.closure(tree.heads(earlier)):
        if revision.id not in applied:
            raise refused(
                "release_skipped",
                revision.place,
                f"database {reading.database} is not at release {earlier.name} yet: it lacks revision {revision.id}",
                remedy=f"Upgrade to {earlier.name} first, to its end, and then to {release.name}. "
                "An empty database is installed.",
                database=reading.database,
                revision=revision.id,
                release=release.name,
            )


def _not_in_journal(
    tree: Tree, revision: Revision, reading: Reading, *, contracting: bool = False
) -> MigrationRefused:
    """What it is adopted by is only told where the step would run it: what contract removes may be needed before."""
    lies = "If nothing of it is there, put the version table right."
    if revision.stage is Stage.EXPAND or contracting:
        adopting = _adopting(tree, revision, reading)
        remedy = f"If somebody ran it there and all of it is there, type there: {adopting} {lies}"
    else:
        remedy = f"If somebody ran it there, put back what it removed, and the version table. {lies}"
    return refused(
        "not_in_journal",
        revision.place,
        f"database {reading.database} has revision {revision.id} in its version table, but it was not run from here",
        remedy=remedy,
        database=reading.database,
        revision=revision.id,
    )


def _adopting(tree: Tree, revision: Revision, reading: Reading) -> str:
    """The statement that writes it into the journal as done. The step compares it with the catalog all the same."""
    schema = tree.manifest.releases.schema
    if any(entry.revision == revision.id for entry in reading.journal or ()):
        return (
            f"UPDATE orchestrator_steps SET stage = '{ADOPTED}', state = 'done', file_hash = '{revision.file_hash}', "
            f"finished_at = started_at WHERE schema_name = '{schema}' AND revision = '{revision.id}';"
        )
    return (
        "INSERT INTO orchestrator_steps (schema_name, revision, stage, file_hash, state, owner_epoch, started_at, "
        f"finished_at) VALUES ('{schema}', '{revision.id}', '{ADOPTED}', '{revision.file_hash}', 'done', 0, 0, 0);"
    )
