"""The world of joins without a daemon: in the managed database, as its copy admits, until a daemon imports them.

Every process has its row there. One that finds no daemon, as any may at any time, joins, renews and acks in it. With
lost commits a row may be all that is left of a registration, or be lost itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from typing import Any

from orchestrator.domain import losses
from orchestrator.domain.admission import Admitted, lives
from orchestrator.domain.fleets import InstanceState, Registration
from orchestrator.domain.ladder import Behaviour, Phase
from orchestrator.domain.losses import Follows
from orchestrator.domain.view import DatabaseFacts
from tests.protocol.losing import (
    EARLY,
    GONE,
    Change,
    Kept,
    LosingFacts,
    LosingMember,
    LosingProcess,
    LosingWorld,
    published_at,
)
from tests.protocol.world import NO_TRANSACTION, S6, Counted, Daemon, Hand, Life, Violation, widened


class Row(IntEnum):
    """What a process has written of itself in the managed database."""

    NONE = 0
    KNOWN = 1  # nothing that the state did not know
    NEWS = 2
    ACKED = 3  # news, and that it acked what it follows


NEWS = (Row.NEWS, Row.ACKED)


class JoiningProcess(widened(LosingProcess, row=Row, row_kept=Row)):  # type: ignore[misc]
    """A process and its row; `row_kept` is the one that the database's standby holds."""

    is_gone = LosingProcess.is_gone

    @property
    def is_stopped(self) -> bool:
        """It lost its lease, and goes on asking for it."""
        return self.life is Life.FINISHING and self.counted is Counted.NOT


class JoiningFacts(widened(LosingFacts, strangers=tuple)):  # type: ignore[misc]
    """Also the registrations there that nobody knows: of each whether it is of the new release."""


class JoiningWorld(LosingWorld):
    """Nothing is lost, as it is; subclasses lose something."""

    loses_state = False
    imports = True  # what was written there is part of the state before anything is decided upon it

    # -- what the client decides -------------------------------------------------------------------------------------

    def told_by_copy(self, database: Any, is_new: bool) -> Admitted | None:
        """What the copy tells a release, if anything."""
        if not self.copy_is_usable(database):
            return None
        copy = self.copy_at(database.held, 0)
        assert copy is not None
        return next((each for each in copy.admits if each.release == ("2" if is_new else "1")), None)

    def copy_is_usable(self, database: Any) -> bool:
        """A copy of another incarnation admits nobody."""
        return not database.has_unnoticed_loss

    def joins_by_copy(self, told: Admitted | None) -> bool:
        """The copy's fence is part of what it tells."""
        return told is not None and told.joins

    def renews_by_copy(self, told: Admitted | None, process: Any) -> bool:
        """A lease that has lapsed comes back under the fence, as if its holder joined."""
        return told is not None and (told.joins or not process.is_stopped)

    # -- processes ---------------------------------------------------------------------------------------------------

    def newcomers(self, up: Any) -> Iterator[tuple[str, Any]]:
        for action, process in super().newcomers(up):
            yield action, JoiningProcess(*process, row=Row.KNOWN, row_kept=Row.NONE)

    def newcomers_by_copy(self, up: Any, database: Any) -> Iterator[tuple[str, Any]]:
        for is_new in (False, True):
            told = self.told_by_copy(database, is_new)
            if told is None or not self.joins_by_copy(told):
                continue
            self._check_join_by_copy(up, database, is_new)
            held = database.held
            process = JoiningProcess(
                is_new, Life.RUNNING, Counted.NOT, held.phase, self._follows_present(up, held.publication, held.phase),
                False, NO_TRANSACTION, False, told=held.publication, kept=Kept.NOTHING, row=Row.ACKED,
                row_kept=Row.NONE,
            )  # fmt: skip
            yield f"{self.name(process)} joins in the database and is told {held.phase.word}", process

    @staticmethod
    def _follows_present(up: Any, told: int, learned: Phase) -> bool:
        return bool(told == up.publication and learned is up.phase)

    def process_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        yield from super().process_moves(up, database, process)
        if process.is_gone or process.life in (Life.CRASHED, Life.JOINING):
            return
        if process.life is Life.RUNNING or process.is_stopped:
            for action, after in self._moves_by_copy(up, database, process):
                yield action, after, database
        if process.counted is Counted.NOT and process.row is not Row.NONE:
            yield f"{self._named(process)} renews, and is imported", self.imported(up, process), database

    def _moves_by_copy(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any]]:
        """What it hears and says where no daemon answers."""
        told, held, name = self.told_by_copy(database, process.is_new), database.held, self._named(process)
        if told is None or not self.renews_by_copy(told, process):
            return
        is_news = held.publication >= process.told and process.learned is not held.phase
        if is_news:
            after = process._replace(
                life=Life.RUNNING, learned=held.phase, told=held.publication, row=Row.NEWS,
                current=self._follows_present(up, held.publication, held.phase),
                is_older=process.transaction != NO_TRANSACTION,
            )  # fmt: skip
            yield f"{name} learns {held.phase.word} in the database", after
        elif process.row is Row.NONE or process.is_stopped:
            yield f"{name} renews in the database", process._replace(life=Life.RUNNING, row=max(process.row, Row.NEWS))
        elif process.current and not process.acked and process.row is not Row.ACKED and self.may_ack(process):
            yield f"{name} acks {process.learned.word} in the database", process._replace(row=Row.ACKED)

    def _named(self, process: Any) -> str:
        kind = {Counted.NOT: " (not known)"}.get(process.counted, "")
        return f"{self.name(process)}{kind}"

    def _forgotten_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        if process.life is Life.CRASHED or process.is_stopped:
            return
        for action, after, changed in super()._forgotten_moves(up, database, process):
            yield action.replace("(forgotten)", "(not known)"), after, changed
        if process.row in NEWS:
            crashed = process._replace(life=Life.CRASHED, transaction=NO_TRANSACTION, is_older=False)
            yield f"{self._named(process)} crashes", crashed, database
            if process.transaction == NO_TRANSACTION:
                yield f"{self._named(process)} leaves", None, database

    def _without_lease(self, process: Any) -> Any:
        return process._replace(life=Life.FINISHING, transaction=NO_TRANSACTION, is_older=False)

    def imported(self, up: Any, process: Any) -> Any:
        """A daemon that does not know it finds its row, and answers its renewal, or refuses it for good.

        What it follows is heard before it is answered.
        """
        known = self._taken_over(process)
        if self._tells_of_a_loss(up, process):
            return known
        return self._answered(up, known) if self.may_live(up, process) else None

    def _tells_of_a_loss(self, up: Any, process: Any) -> bool:
        follows = Follows(1, published_at(process.told), process.learned)
        return losses.loss_heard(self.upgrade(up), follows, "somebody") is not None

    def may_live(self, up: Any, process: Any) -> bool:
        """Nobody who was not known gets its lease back where its release cannot live."""
        return lives(self.standing("1", self.upgrade(up)), "2" if process.is_new else "1")

    def _answered(self, up: Any, process: Any) -> Any:
        known = process._replace(life=Life.RUNNING)
        if known.current or self.ignores(up, known):
            return known
        has_transaction = known.transaction != NO_TRANSACTION
        return known._replace(learned=up.phase, current=True, told=up.publication, is_older=has_transaction)

    def _lease_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        found: Iterator[tuple[str, Any, Any]] = super()._lease_moves(up, database, process)
        for action, after, changed in found:
            if process.life is not Life.FINISHING:
                yield action, after, changed
            elif after.life is Life.CRASHED:
                yield action, after._replace(told=GONE), changed
            elif not self._tells_of_a_loss(up, process):
                yield action, self._answered(up, process), changed

    @staticmethod
    def _taken_over(process: Any) -> Any:
        acked = process.row is Row.ACKED and process.current
        if process.counted is Counted.NOT:
            return process._replace(counted=Counted.LEASED, acked=acked, row=Row.KNOWN)
        return process._replace(acked=acked or process.acked, row=Row.KNOWN)

    def followed(self, process: Any, before: Any, after: Any, change: Change) -> Any:
        match change:
            case Change.IMPORT:
                return self._taken_over(process) if process.row in NEWS else process
            case Change.DATABASE_LAG:
                return process._replace(row_kept=process.row)
            case Change.DATABASE_LOSS:
                return self._with_row_lost(process)
        found = super().followed(process, before, after, change)
        if change is Change.PUBLICATION and found is not None and found.row is Row.ACKED and not found.current:
            return found._replace(row=Row.NEWS)
        return found

    @staticmethod
    def _with_row_lost(process: Any) -> Any:
        """Its connections end, too."""
        found = process._replace(row=process.row_kept, row_kept=Row.NONE, transaction=NO_TRANSACTION, is_older=False)
        is_nobody = found.counted is Counted.NOT and found.row is Row.NONE and found.life is Life.CRASHED
        return None if is_nobody else found

    def _restored(self, process: Any) -> Any:
        if process.kept is Kept.NOTHING and process.life is Life.CRASHED and process.row in NEWS:
            return process
        return super()._restored(process)

    def _forgotten(self, process: Any) -> Any:
        return process._replace(counted=Counted.NOT, current=process.told == 0, acked=False)

    def shown(self, process: Any) -> tuple[int, int]:
        return (Behaviour.A3, Behaviour.A3) if self._is_idle(process) else super().shown(process)

    @staticmethod
    def _is_idle(process: Any) -> bool:
        """Whether it does nothing until it is answered."""
        return process.life is Life.FINISHING and process.transaction == NO_TRANSACTION

    def member(self, process: Any) -> Any:
        if process.counted is not Counted.NOT or process.is_gone:
            member = super().member(process)
            if process.life is Life.FINISHING:  # it has renewed, and was not answered yet
                return member._replace(told=process.told, learned=process.learned, speaks=True)
            return member
        if process.row in NEWS:
            acked = process.row is Row.ACKED
            return LosingMember(process.is_new, Counted.NOT, acked, False, EARLY, Phase.BASE, False, forgotten=False)
        return None if process.is_stopped else super().member(process)

    # -- daemons -----------------------------------------------------------------------------------------------------

    def _reads(self, up: Any, database: Any, members: Any, facts: Any) -> Any:
        """Whoever joined there is imported before anything is decided."""
        news = [each for each in members if each.counted is Counted.NOT and not each.forgotten]
        strangers = () if self.imports else tuple(sorted(each.is_new for each in news))
        read = Daemon(Hand.FACTS, facts=JoiningFacts(*facts, strangers=strangers))
        return "a daemon reads the database", read, up, database, Change.IMPORT if self.imports else Change.NONE

    def database_facts(self, revision: int, facts: Any) -> DatabaseFacts:
        found = super().database_facts(revision, facts)
        strangers = getattr(facts, "strangers", ())
        registrations = tuple(
            Registration("api", f"r{number}", "t", "n", "2" if is_new else "1", None, InstanceState.ALIVE, 1, 0.0)
            for number, is_new in enumerate(strangers)
        )
        return replace(found, registrations=registrations)

    # -- the invariants ----------------------------------------------------------------------------------------------

    def check(self, up: Any, database: Any, processes: Any) -> None:
        super().check(up, database, tuple(process for process in processes if not self._is_idle(process)))

    def _check_join_by_copy(self, up: Any, database: Any, is_new: bool) -> None:
        """The state's own fence holds only once the copy has it; and what the state has lost holds until it froze."""
        support = self.profile.support(self._side(is_new))
        phase = up.phase if up.truth is None else up.truth[0]
        if up.frozen:
            return
        if not all(each in support for each in (phase, database.copy_phase, database.copy_fence)):
            raise Violation(S6, f"{'a new' if is_new else 'an old'} process joins in the database")
