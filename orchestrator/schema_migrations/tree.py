"""The migration tree: the revisions in expand/ and contract/, their order, and which release each head closes."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError, RevisionMap
from alembic.util import CommandError

from orchestrator.domain.ladder import Stage
from orchestrator.domain.releases import Release
from orchestrator.schema_migrations.manifest import Manifest
from orchestrator.schema_migrations.places import Place, broken, line_of, line_of_error

STAGES = (Stage.EXPAND, Stage.CONTRACT)
MAX_ID_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision file. `down` and `depends` are revision ids; `acknowledged` is the author's reason, if given."""

    id: str
    stage: Stage
    file: Path
    line: int
    file_hash: str
    summary: str
    down: tuple[str, ...]
    depends: tuple[str, ...]
    acknowledged: str | None

    @property
    def place(self) -> Place:
        """Where its id is written."""
        return Place(self.file, self.line)

    def place_of(self, name: str) -> Place:
        """Where a module-level name such as `depends_on` is assigned."""
        return Place(self.file, line_of(self.file.read_text(encoding="utf-8"), rf"^{name}\b"))


class Applied(NamedTuple):
    """Where a database stands in the tree, by its version table alone: the newest of each branch, and all."""

    heads: tuple[str, ...]
    ids: frozenset[str]


class Tree:
    """A sound migration tree. Constructing it reads every revision file; no `env.py` is needed or run.

    Raises `ManifestError` with file, line and remedy: a file that does not import, a missing revision, a revision in
    the wrong branch, several heads in a branch, a head that the manifest names and the tree has not, or the reverse.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.script = ScriptDirectory(directory, version_locations=[directory / stage.value for stage in STAGES])
        scripts = tuple(self._load())
        self.script.revision_map = RevisionMap(lambda: scripts)
        self._scripts = {script.revision: script for script in scripts}
        self._revisions = self._connect(scripts)
        for stage in STAGES:
            self._check_heads(stage)

    def __contains__(self, revision: str) -> bool:
        return revision in self._revisions

    def __getitem__(self, revision: str) -> Revision:
        return self._revisions[revision]

    def __iter__(self) -> Iterator[Revision]:
        return iter(self._revisions.values())

    def module(self, revision: str) -> ModuleType:
        """The revision's module, as it was loaded from the bytes that its hash was taken of."""
        return self._scripts[revision].module

    def code(self, revision: str) -> Script:
        """The revision as Alembic knows it."""
        return self._scripts[revision]

    def heads(self, release: Release) -> tuple[str, ...]:
        """The expand and the contract head at that release, without branches that nothing is in yet."""
        return tuple(head for head in self.manifest.heads(release.name) if head is not None)

    def head(self, release: Release, stage: Stage) -> str | None:
        """The head of one branch at that release; None while nothing is in the branch yet."""
        expand, contract = self.manifest.heads(release.name)
        return expand if stage is Stage.EXPAND else contract

    def closure(self, heads: Iterable[str]) -> tuple[Revision, ...]:
        """These revisions and everything that they need, `depends_on` included, each after what it needs."""
        ordered: dict[str, Revision] = {}
        pending = list(reversed(tuple(heads)))
        while pending:
            revision = self._revisions[pending[-1]]
            missing = [needed for needed in (*revision.down, *revision.depends) if needed not in ordered]
            if missing:
                pending.extend(reversed(missing))
            else:
                ordered[pending.pop()] = revision
        return tuple(ordered.values())

    def ids(self, heads: Iterable[str]) -> frozenset[str]:
        """The ids of `closure(heads)`."""
        return frozenset(revision.id for revision in self.closure(heads))

    def own(self, release: Release, stage: Stage) -> tuple[Revision, ...]:
        """The revisions that a release adds to one branch, in their order. What `depends_on` pulls in is left out."""
        head = self.head(release, stage)
        if head is None:
            return ()
        earlier = self.earlier(release)
        before = self.head(earlier, stage) if earlier is not None else None
        known = self.ids([before]) if before is not None else frozenset()
        return tuple(each for each in self.closure([head]) if each.stage is stage and each.id not in known)

    def earlier(self, release: Release) -> Release | None:
        """The release before, None for the first."""
        index = self.manifest.releases.index(release.name)
        return self.manifest.releases.ordered[index - 1] if index else None

    def applied(self, versions: tuple[str, ...]) -> Applied:
        """What the rows of a version table mean. They must be known revisions.

        A revision that something depends on has no row of its own, so the rows alone are not the position.
        """
        current = self.script.get_all_current(versions)
        heads = tuple(sorted(script.revision for script in current))
        return Applied(heads=heads, ids=self.ids(versions))

    # -- loading -------------------------------------------------------------------------------------------------------

    def _load(self) -> Iterator[Script]:
        self._hashes: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        for stage in STAGES:
            for file in sorted((self.directory / stage.value).glob("*.py")):
                if file.name == "__init__.py" or file.name.startswith("."):
                    continue
                yield self._load_one(file)

    def _load_one(self, file: Path) -> Script:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise broken(
                "revision_not_readable",
                Place(file, 1),
                f"this revision cannot be read: {error.strerror or error}",
                remedy="Make it readable for the account that the orchestrator runs as.",
            ) from error
        module = _execute(file, content)
        source = content.decode("utf-8", "replace")
        identifier = getattr(module, "revision", None)
        if not isinstance(identifier, str) or not identifier:
            raise broken(
                "revision_without_id",
                Place(file, line_of(source, r"^revision\b")),
                "this file is no revision: it has no revision id",
                remedy='Write revision = "..." and down_revision, or move the file out of the tree.',
            )
        if not callable(getattr(module, "upgrade", None)):
            raise broken(
                "revision_without_upgrade",
                Place(file, line_of(source, r"^revision\b")),
                f"revision {identifier} has no function upgrade()",
                remedy="Write def upgrade(): with what the revision does.",
            )
        if identifier in self._hashes:
            raise broken(
                "revision_twice",
                Place(file, line_of(source, r"^revision\b")),
                f"revision {identifier} exists twice in this tree",
                remedy="Give one of the two files another revision id.",
            )
        self._hashes[identifier] = hashlib.sha256(content).hexdigest()
        self._sources[identifier] = source
        try:
            if len(identifier) > MAX_ID_LENGTH:
                raise CommandError(f"the id has {len(identifier)} characters, the version table holds {MAX_ID_LENGTH}")
            Script.verify_rev_id(identifier)
            return Script(module, identifier, str(file))
        except (RevisionError, CommandError) as error:
            raise broken(
                "revision_invalid", Place(file, line_of(source, r"^revision\b")), f"{error}", remedy="Correct it."
            ) from error

    # -- connecting ----------------------------------------------------------------------------------------------------

    def _connect(self, scripts: tuple[Script, ...]) -> dict[str, Revision]:
        known = {script.revision for script in scripts}
        labels = {label for script in scripts for label in _strings(getattr(script.module, "branch_labels", None))}
        for script in scripts:
            self._check_references(script, known, labels)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.script.get_heads()
        except (RevisionError, CommandError, UserWarning, KeyError) as error:
            raise broken(
                "tree_broken",
                Place(self.directory, 1),
                f"the revisions do not form a tree: {error}",
                remedy="Correct down_revision and depends_on of the revisions named.",
            ) from error
        revisions = {script.revision: self._revision(script) for script in scripts}
        for revision in revisions.values():
            self._check_branch(revision, revisions, self._scripts[revision.id])
        return revisions

    def _check_references(self, script: Script, known: set[str], labels: set[str]) -> None:
        file = Path(script.path)
        for name, allowed in (("down_revision", known), ("depends_on", known | labels)):
            for wanted in _strings(getattr(script.module, name, None)):
                if wanted not in allowed:
                    raise broken(
                        "revision_missing",
                        Place(file, line_of(self._sources[script.revision], rf"^{name}\b")),
                        f"{name} names revision {wanted}, which is not in this tree",
                        remedy="Add that revision's file, or correct the id (write it in full).",
                    )

    def _revision(self, script: Script) -> Revision:
        file = Path(script.path)
        source = self._sources[script.revision]
        acknowledged = getattr(script.module, "acknowledged", None)
        if acknowledged is not None and not (isinstance(acknowledged, str) and acknowledged.strip()):
            raise broken(
                "acknowledgement_without_reason",
                Place(file, line_of(source, r"^acknowledged\b")),
                "an acknowledgement needs a reason",
                remedy='Write acknowledged = "why this is safe in its stage".',
            )
        depends = self.script.get_revisions(tuple(_strings(script.dependencies)))
        return Revision(
            id=script.revision,
            stage=Stage(file.parent.name),
            file=file,
            line=line_of(source, r"^revision\b"),
            file_hash=self._hashes[script.revision],
            summary=_summary(script.module),
            down=_strings(script.down_revision),
            depends=tuple(each.revision for each in depends),
            acknowledged=acknowledged,
        )

    def _check_branch(self, revision: Revision, revisions: dict[str, Revision], script: Script) -> None:
        for before in revision.down:
            if revisions[before].stage is not revision.stage:
                raise broken(
                    "revision_in_two_branches",
                    revision.place_of("down_revision"),
                    f"revision {revision.id} in {revision.stage.value}/ follows {before} of {revisions[before].stage}/",
                    remedy=f"The branches meet by depends_on only: write down_revision for the revision before it in "
                    f"{revision.stage.value}/ and depends_on = {before!r}.",
                )
        if revision.stage.value not in script.branch_labels:
            raise broken(
                "branch_label_missing",
                revision.place_of("branch_labels"),
                f"revision {revision.id} in {revision.stage.value}/ is not of the branch {revision.stage.value!r}",
                remedy=f"Write branch_labels = ({revision.stage.value!r},) in the branch's first revision, and "
                "let every other one follow it by down_revision.",
            )

    # -- heads ---------------------------------------------------------------------------------------------------------

    def _check_heads(self, stage: Stage) -> None:
        heads = [self[head] for head in self.script.get_heads() if self[head].stage is stage]
        if len(heads) > 1:
            first, second = heads[:2]
            raise broken(
                "several_heads",
                second.place_of("down_revision"),
                f"the {stage.value} branch has {len(heads)} heads: {', '.join(head.id for head in heads)}",
                remedy=f"Let one follow the other: down_revision = {first.id!r} here.",
            )
        before: str | None = None
        for release in self.manifest.releases.ordered:
            head = release.expand_head if stage is Stage.EXPAND else release.contract_head
            if head is None:
                continue
            self._check_named(release, stage, head, before)
            before = head
        for last in heads:
            if last.id != before:
                newest = self.manifest.releases.ordered[-1]
                raise broken(
                    "head_not_named",
                    last.place,
                    f"revision {last.id} is the head of {stage.value}/, but no release names it",
                    remedy=f'Write {stage.value} = "{last.id}" in the release that brings it '
                    f"({self.manifest.place(newest.name)}, or a new [[release]]).",
                )

    def _check_named(self, release: Release, stage: Stage, head: str, before: str | None) -> None:
        place = self.manifest.place(release.name, stage.value)
        if head not in self:
            near = ", ".join(sorted(each.id for each in self if each.stage is stage)) or "none"
            raise broken(
                "head_missing",
                place,
                f"release {release.name} names revision {head}, which is not in {stage.value}/",
                remedy=f"Correct the id (write it in full) or add its file. In {stage.value}/ there are: {near}.",
            )
        if self[head].stage is not stage:
            raise broken(
                "head_in_other_branch",
                place,
                f"release {release.name}: the {stage.value} head {head} is a revision of {self[head].stage.value}/",
                remedy=f"Name a revision of {stage.value}/.",
            )
        if before is not None and before not in self.ids([head]):
            raise broken(
                "heads_out_of_order",
                place,
                f"release {release.name}: the {stage.value} head {head} does not follow {before} of an earlier release",
                remedy="List the releases oldest first, each with a later revision of the same branch.",
            )


def _execute(file: Path, content: bytes) -> ModuleType:
    """Run a revision file as a module, from these very bytes: a stale bytecode file must not run in their place."""
    module = ModuleType(re.sub(r"\W", "_", file.stem))
    module.__file__ = str(file)
    try:
        code: CodeType = compile(content, str(file), "exec")
        exec(code, module.__dict__)
    except Exception as error:
        raise broken(
            "revision_not_importable",
            Place(file, line_of_error(file, error)),
            f"this revision does not import: {type(error).__name__}: {error}",
            remedy="Correct the file; it must import wherever the orchestrator runs.",
        ) from error
    return module


def _summary(module: ModuleType) -> str:
    lines = (module.__doc__ or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def _strings(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(str(each) for each in value) if isinstance(value, Iterable) else ()
