"""The upgrade as the orchestrator does it, driven from outside the way an operator and a deployment tool would."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.demo.api import Blocker, OrchestratorApi, UpgradeView
from orchestrator.demo.board import Board
from orchestrator.demo.errors import DemoFailed
from orchestrator.demo.example import FLEETS
from orchestrator.demo.fleet import Fleets

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
STEADY_SECONDS = 1.5


class OrchestratedUpgrade:
    """One upgrade from release 1 to release 2, with everything that is shown on the way."""

    def __init__(self, api: OrchestratorApi, fleets: Fleets, board: Board) -> None:
        self._api = api
        self._fleets = fleets
        self._board = board
        self.refused_for: tuple[str, ...] = ()
        self.moved: dict[str, tuple[int, int]] = {}

    def run(self, *, turn_back: bool) -> None:
        """Go through all of it; with `turn_back`, to where nothing is left but to contract, and back to release 1.

        Raises `DemoFailed` when something does not happen.
        """
        self._fleets.start("1")
        self._board.say(f"{len(self._fleets.running())} processes of release 1 work; every read is checked")
        time.sleep(STEADY_SECONDS)
        if self._api.gate_is_open(f"deploy:{FLEETS[0]}:2"):
            raise DemoFailed(f"the gate deploy:{FLEETS[0]}:2 is open although the new shape does not exist yet")
        self._begin()
        self._wait_until(lambda view: all(self._api.gate_is_open(f"deploy:{fleet}:2") for fleet in FLEETS))
        self._look()
        self._show_refusal()
        for fleet in FLEETS:
            self._board.say(f"gate deploy:{fleet}:2 is open: rolling the fleet, one process after another")
            self._fleets.roll(fleet, "2")
            self._look()
        self._board.say("only release 2 runs")
        self._wait_until(_waits_for_approval_to_contract)
        if turn_back:
            self._go_back()
        else:
            self._contract()
        self._board.clock.end(time.monotonic())
        time.sleep(STEADY_SECONDS)
        self._fleets.stop()

    def _contract(self) -> None:
        self._board.say("every row is moved and verified, nobody needs the old shape: approving the contract")
        answer = self._api.approve("contracted", "the demo has seen enough")
        if not answer.ok:
            raise DemoFailed(f"the approval was refused: {answer.problem}")
        self._wait_until(lambda view: view.status == "completed")
        self._board.say("the upgrade is complete; the fleets go on working on the new shape alone")

    def _go_back(self) -> None:
        self._board.say("release 2 writes the new shape alone: cancelling the upgrade all the same")
        answer = self._api.cancel("the demo turns back")
        if not answer.ok:
            raise DemoFailed(f"the upgrade could not be cancelled: {answer.problem}")
        self._wait_until(lambda view: all(self._api.gate_is_open(f"rollback:{fleet}:1") for fleet in FLEETS))
        for fleet in FLEETS:
            self._board.say(f"gate rollback:{fleet}:1 is open: rolling the fleet back, one process after another")
            self._fleets.roll(fleet, "1")
            self._look()
        self._wait_until(lambda view: view.status == "cancelled")
        self._board.say("the upgrade has ended at base; release 1 works on the old shape")

    def _begin(self) -> None:
        answer = self._api.begin_upgrade("2")
        if not answer.ok:
            raise DemoFailed(f"the upgrade could not be started: {answer.problem}")
        self._board.say("upgrade to release 2 started over the API")

    def _show_refusal(self) -> None:
        """Ask for the contract while release 1 runs, and see it refused for every process of release 1."""
        still_old = {i.options.instance for i in self._fleets.running() if i.options.release == "1"}
        answer = self._api.check_gate("phase:contracted")
        if answer.ok:
            raise DemoFailed(f"the gate phase:contracted is open while {len(still_old)} processes need the old shape")
        self._board.say(f"an early contract is refused with HTTP status {answer.status}: {answer.problem}", "yellow")
        blockers = self._blockers_naming_all(still_old)
        for blocker in blockers:
            self._board.say(f"  {blocker}", "yellow")
        self._board.say(f"  still need the old shape: {', '.join(sorted(still_old))}", "yellow")
        self.refused_for = tuple(sorted(still_old))

    def _blockers_naming_all(self, instances: set[str]) -> tuple[Blocker, ...]:
        """The first blockers of the plan that together name each of these instances."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            forgotten, blockers = set(instances), []
            for blocker in self._api.plan_blockers():
                named = {name for name in forgotten if any(name in culprit for culprit in blocker.culprits)}
                if named:
                    forgotten -= named
                    blockers.append(blocker)
            if not forgotten:
                return tuple(blockers)
            if time.monotonic() > deadline:
                names = ", ".join(sorted(forgotten))
                raise DemoFailed(f"the plan does not name these processes, which still need the old shape: {names}")
            time.sleep(POLL_SECONDS)
            self._look()

    def _wait_until(self, is_so: Callable[[UpgradeView], bool]) -> None:
        """Look until it is so. Raises `DemoFailed` when nothing moves for a long while."""
        view = self._look()
        deadline, seen = time.monotonic() + PATIENCE_SECONDS, view
        while not is_so(view):
            if time.monotonic() > deadline:
                reasons = " ".join(map(str, view.blockers))
                raise DemoFailed(f"the upgrade does not go on from {view.phase}: {view.sentence}. {reasons}".rstrip())
            time.sleep(POLL_SECONDS)
            view = self._look()
            if view != seen:
                deadline, seen = time.monotonic() + PATIENCE_SECONDS, view

    def _look(self) -> UpgradeView:
        view = self._api.upgrade()
        if self._board.clock.observe(view.phase, time.monotonic()):
            self._board.say(f"phase {view.phase}", "bold")
        self._board.view = view
        for migration in view.data_migrations:
            done, verified = self.moved.get(migration.name, (0, 0))
            self.moved[migration.name] = (max(done, migration.rows_done), max(verified, migration.rows_verified))
        crashed = self._fleets.ended_badly()
        if crashed:
            raise DemoFailed(f"these processes ended by themselves: {', '.join(crashed)}")
        return view


def _waits_for_approval_to_contract(view: UpgradeView) -> bool:
    return any(blocker.code == "approval_required" for blocker in view.blockers)
