"""upgrade: begin one, look at it, steer it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from orchestrator.cli import cells
from orchestrator.cli.answers import Blocker, Upgrade
from orchestrator.cli.blockers import lines_of
from orchestrator.cli.command import Plain, Showing, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import UsageError
from orchestrator.client.errors import Conflict

_MARKS = {"passed": "x", "current": ">", "next": ".", "ahead": " "}
_WAVES = {None: "", 0: "canary"}


def fields_of(upgrade: Upgrade) -> tuple[tuple[str, ...], tuple[object, ...]]:
    """An upgrade as fields and values."""
    shown: dict[str, object] = {
        "Schema": upgrade.schema,
        "From": cells.maybe(upgrade.from_release),
        "To": cells.maybe(upgrade.to_release),
        "Status": upgrade.status,
        "Says": upgrade.sentence,
        "Phase": cells.maybe(upgrade.phase),
        "Next": cells.maybe(upgrade.next),
        "Wave": cells.Cell(upgrade.wave, _WAVES.get(upgrade.wave, f"{upgrade.wave}")),
        "Ladder": cells.lines(
            upgrade.ladder, (f"{_MARKS.get(rung.state, ' ')} {rung.phase:<10} {rung.why}" for rung in upgrade.ladder)
        ),
        "Blockers": blockers_cell(upgrade.blockers),
        "Databases": cells.lines(upgrade.databases, map(_database_line, upgrade.databases)),
        "Data migrations": cells.lines(
            upgrade.data_migrations,
            (
                f"{each.name} in {each.database}: {each.state}, "
                f"{cells.rows(each.rows_done, each.rows_total)} moved, {each.rows_verified} verified"
                for each in upgrade.data_migrations
            ),
        ),
        "Progress": cells.share(upgrade.progress),
        "Rows/s": cells.rate(upgrade.rows_per_second),
        "ETA": cells.eta(upgrade.eta, upgrade.eta_seconds),
        "Notes": cells.lines(upgrade.notes, upgrade.notes),
        "Approvals": cells.lines(
            upgrade.approvals,
            (f"{each.phase} by {each.actor}{f': {each.reason}' if each.reason else ''}" for each in upgrade.approvals),
        ),
        "Paused": cells.maybe(upgrade.paused),
        "Begun": cells.moment(upgrade.begun_at),
        "Phase since": cells.moment(upgrade.phase_since),
        "Ended": cells.moment(upgrade.ended_at),
        "Revision": upgrade.revision,
    }
    return tuple(shown), tuple(shown.values())


def blockers_cell(blockers: Sequence[Blocker]) -> cells.Cell:
    """Blockers with what clears each."""
    return cells.lines(blockers, (line[2:] for blocker in blockers for line in lines_of(blocker)))


def _database_line(database: Any) -> str:
    if database.error is not None:
        return f"{database.database}: {database.error}"
    step = database.step
    words = f"{database.database}: {', '.join(database.heads) or 'answers'}"
    return words if step is None else f"{words}; step {step.state}{f': {step.error}' if step.error else ''}"


class _OfUpgrade(Showing):
    """Shows the upgrade of a schema."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)


class Show(_OfUpgrade):
    """Show the newest upgrade: its phase, what it waits for, how far it is."""

    EXAMPLE = "orchestrator upgrade show inventory -f json"

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        return fields_of(self.api.get(path_of("schemas", parsed_args.schema, "upgrade"), Upgrade))


class Plan(_OfUpgrade):
    """Show what the next move would do, or what blocks it.

    Changes nothing. Exits with 3 when it is blocked.
    """

    EXAMPLE = "orchestrator upgrade plan inventory"

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        plan = self.api.get(path_of("schemas", parsed_args.schema, "plan"), Upgrade)
        if plan.blockers:
            self.exit = Exit.NOT_YET
        return ("Schema", "Phase", "Next", "Says", "Blockers", "Statements", "Notes", "Revision"), (
            plan.schema,
            cells.maybe(plan.phase),
            cells.maybe(plan.next),
            plan.sentence,
            blockers_cell(plan.blockers),
            cells.lines(plan.statements, plan.statements),
            cells.lines(plan.notes, plan.notes),
            plan.revision,
        )


class Begin(_OfUpgrade):
    """Begin the upgrade of a schema to its next release.

    Repeating it is harmless, also when the upgrade has arrived.
    """

    EXAMPLE = "orchestrator upgrade begin inventory --release 2"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--release", required=True, help="the release to upgrade to")
        parser.add_argument("--reason", help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "upgrade")
        try:
            return fields_of(
                self.api.post(path, Upgrade, release=parsed_args.release, reason=parsed_args.reason),
            )
        except Conflict as refused:
            if refused.code != "already_there":
                raise
            self.tell(refused.message)
            return fields_of(self.api.get(path, Upgrade))


class _Steering(_OfUpgrade):
    """A verb that steers the upgrade, and shows it as it is then."""

    VERB: ClassVar[str]
    needs_reason: ClassVar[bool] = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", required=self.needs_reason, help="why, for whoever reads the audit log")
        parser.add_argument(
            "--if-revision", type=int, metavar="N", help="refuse if the upgrade changed since `upgrade show` said N"
        )

    def body(self, parsed_args: argparse.Namespace) -> Mapping[str, object]:
        """What the verb needs besides."""
        return {}

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        if self.needs_reason and not parsed_args.reason.strip():
            raise UsageError("--reason may not be empty: say why, for whoever reads the audit log.")
        path = path_of("schemas", parsed_args.schema, "upgrade", self.VERB)
        body = {"reason": parsed_args.reason, "if_revision": parsed_args.if_revision, **self.body(parsed_args)}
        return fields_of(self.api.post(path, Upgrade, **body))


class Approve(_Steering):
    """Approve that the upgrade enters a phase, also before it gets there.

    Without --phase it is the only one that the policy asks about. Refused for a phase that asks for none.
    """

    EXAMPLE = 'orchestrator upgrade approve inventory --phase contracted --reason "dashboards are quiet"'
    VERB = "approve"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--phase", help="the phase to approve")
        parser.add_argument(
            "--force", action="append", metavar="GUARD", help="override a policy guard, e.g. soaked; can be repeated"
        )

    def body(self, parsed_args: argparse.Namespace) -> Mapping[str, object]:
        return {"phase": parsed_args.phase, "force": parsed_args.force}


class Rollback(_Steering):
    """Send the upgrade back to an earlier phase, rung by rung."""

    EXAMPLE = 'orchestrator upgrade rollback inventory --to base --reason "the new release leaks memory"'
    VERB = "rollback"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--to", required=True, metavar="PHASE", help="the phase to go back to")

    def body(self, parsed_args: argparse.Namespace) -> Mapping[str, object]:
        return {"to": parsed_args.to}


class Pause(_Steering):
    """Let no further move begin.

    Rows stop moving after the batch under way.
    """

    EXAMPLE = 'orchestrator upgrade pause inventory --reason "change freeze"'
    VERB = "pause"


class Resume(_Steering):
    """Go on, after a pause or after a rollback that has arrived."""

    EXAMPLE = "orchestrator upgrade resume inventory"
    VERB = "resume"
    needs_reason = False


class Retry(_Steering):
    """Run the failed step again, in one database or in all in which it failed."""

    EXAMPLE = "orchestrator upgrade retry nova_cell --database cell07"
    VERB = "retry"
    needs_reason = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help="only in this one")

    def body(self, parsed_args: argparse.Namespace) -> Mapping[str, object]:
        return {"database": parsed_args.database}


class Cancel(_Steering):
    """Take the upgrade back to its base and end it there."""

    EXAMPLE = 'orchestrator upgrade cancel inventory --reason "wrong release"'
    VERB = "cancel"


COMMANDS: dict[str, type[Plain]] = {
    "upgrade begin": Begin,
    "upgrade show": Show,
    "upgrade plan": Plan,
    "upgrade approve": Approve,
    "upgrade rollback": Rollback,
    "upgrade pause": Pause,
    "upgrade resume": Resume,
    "upgrade retry": Retry,
    "upgrade cancel": Cancel,
}
