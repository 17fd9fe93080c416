"""The world of the way back from write_new: rows are moved back into the old shape, proven there, and trusted.

A reverse batch moves the row as the database's own copy lets it; its proof goes away with the copy of a phase in which
the old shape may go stale. Whoever steers forward again leaves it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orchestrator.domain import planner
from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.upgrades import Moving, Upgrade, moving
from orchestrator.domain.view import MigrationFacts, MigrationState, View
from tests.protocol.sealing import SealedDatabase, SealedFacts, SealingWorld
from tests.protocol.world import (
    S5_ROWS,
    Batch,
    Daemon,
    Process,
    Shape,
    Up,
    Violation,
    Witness,
    widened,
)

S4_BACK = "S4 the old shape is trusted only with a witness proven since it last could go stale"
S8_BACK = "S8 no reverse batch lands after read_new was left"


class ReversingUp(widened(Up, reversing=bool)):  # type: ignore[misc]
    """The upgrade, and whether rows are moved back."""

    is_past_return = Up.is_past_return


class ReversingDatabase(widened(SealedDatabase, copy_reversing=bool, back=Witness, back_batch=Batch)):  # type: ignore[misc]
    """The managed database with the copy's word that rows are moved back, the proof of it, and a batch that does so."""


class ReversingFacts(widened(SealedFacts, has_back=bool)):  # type: ignore[misc]
    """What a daemon read of the database, the proof of the way back too."""


class ReversingWorld(SealingWorld):
    """With `in_step_by=client`, the only one that has reverse data migrations."""

    def brings(self, release: Release) -> Release:
        return replace(super().brings(release), reverse_data_migrations=("back",))

    def initial(self, processes: int, daemons: int) -> Any:
        up, database, crowd, hands = super().initial(processes, daemons)
        reversing = ReversingDatabase(*database, copy_reversing=False, back=Witness.NONE, back_batch=Batch.NONE)
        return ReversingUp(*up, reversing=False), reversing, crowd, hands

    # -- asking the real code ----------------------------------------------------------------------------------------

    def upgrade(self, up: Any) -> Upgrade:
        return replace(super().upgrade(up), reversing=up.reversing)

    @staticmethod
    def up(upgrade: Upgrade) -> Any:
        return ReversingUp(*SealingWorld.up(upgrade), reversing=upgrade.reversing)

    def seen(self, up: Any) -> Any:
        return up.phase, up.fence, up.reversing

    def facts(self, database: Any) -> Any:
        return ReversingFacts(*super().facts(database), has_back=database.back is not Witness.NONE)

    def view(self, up: Any, members: Any, facts: Any, now: float) -> View:
        found = super().view(up, members, facts, now)
        state = MigrationState.COMPLETE if facts.has_back else MigrationState.RUNNING
        back = MigrationFacts("back", state, witness="i" if facts.has_back else None)
        database = found.databases[0]
        return replace(found, databases=(replace(database, migrations=(*database.migrations, back)),))

    def changed(self, up: Any, decision: planner.Decision) -> Upgrade | None:
        match decision:
            case planner.MoveRowsBack():
                return self.upgrade(up).with_reversing()
            case planner.TrustOldShape():
                return self.upgrade(up).with_old_restored()
        return super().changed(up, decision)

    @staticmethod
    def _words(up: Any, decided: Daemon) -> str:
        after: Any = decided.decided
        if after.old_valid and not up.old_valid:
            return "takes the old shape for valid again"
        if after.reversing and not up.reversing:
            return "lets rows be moved back"
        return SealingWorld._words(up, decided)

    # -- the managed database ----------------------------------------------------------------------------------------

    def with_copy(self, database: Any, phase: Phase, fence: Phase, reversing: bool = False) -> Any:
        written: Any = super().with_copy(database, phase, fence)
        back = database.back if self.keeps_proof(phase, is_reverse=True) else Witness.NONE
        return written._replace(copy_reversing=reversing, back=back)

    def may_move_back(self, database: Any) -> bool:
        """By the copy alone, in the transaction that moves the rows."""
        return self._moving(database) is Moving.BACK

    def may_finish_back(self, database: Any) -> bool:
        """The cursor's revision: a copy behind which nothing moves has taken the cursor away."""
        return database.copy_phase is Phase.READ_NEW and self._moving(database) is not Moving.NOTHING

    @staticmethod
    def _moving(database: Any) -> Moving:
        return moving(database.copy_phase, database.copy_fence, reversing=database.copy_reversing, frozen=False)

    # -- rows --------------------------------------------------------------------------------------------------------

    def row_moves(self, up: Up, database: Any, lowest: int) -> Iterator[tuple[str, Any]]:
        yield from super().row_moves(up, database, lowest)
        action = "a reverse batch moves the row back"
        if database.back_batch is not Batch.NONE:
            if self.may_finish_back(database):
                self._check_back(up, database, action)
                yield action, database._replace(old=self.moved_back(database), back_batch=Batch.NONE)
            else:
                yield "a reverse batch finds its cursor gone", database._replace(back_batch=Batch.NONE)
        elif self.may_move_back(database) and database.back is Witness.NONE:
            self._check_back(up, database, action)
            if not self.batches_are_atomic:
                yield "a reverse batch begins", database._replace(back_batch=Batch.UNDER_WAY)
            elif (moved := database._replace(old=self.moved_back(database))) != database:
                yield action, moved
            if self.proves_back(database):
                yield "the verification finds that the old shape is complete", database._replace(back=Witness.PROVEN)

    def moved_back(self, database: Any) -> Shape:
        """The old shape after a batch: computed from the new one as it was read, whatever was there."""
        found: Shape = database.new
        return Shape.STALE if database.back_batch is Batch.OVERTAKEN else found

    def proves_back(self, database: Any) -> bool:
        """Whether no row differs."""
        return database.old is database.new is Shape.CURRENT

    def _committed(self, database: Any, process: Process) -> Any:
        after: Any = super()._committed(database, process)
        is_overtaken = not self.rows_are_locked and database.back_batch is not Batch.NONE
        return after._replace(back_batch=Batch.OVERTAKEN) if is_overtaken else after

    # -- the invariants ----------------------------------------------------------------------------------------------

    def _recording(self, up: Any, database: Any, decided: Daemon) -> Any:
        after: Any = decided.decided
        if after.old_valid and not up.old_valid:
            self._check_trust(database, f"a daemon {self._words(up, decided)}")
        if decided.publishes and after.phase >= Phase.WRITE_NEW and database.back is Witness.PROVEN:
            database = database._replace(back=Witness.OUTLIVED)
        return super()._recording(up, database, decided)

    def _check_trust(self, database: Any, action: str) -> None:
        if database.back is not Witness.PROVEN:
            raise Violation(S4_BACK, action)

    def _check_back(self, up: Up, database: Any, action: str) -> None:
        if up.phase is not Phase.READ_NEW:
            raise Violation(S8_BACK, action)
        if database.back_batch is Batch.OVERTAKEN:
            raise Violation(S5_ROWS, action)
