"""Ways back: what a remedy may still tell people to type, as the upgrade itself would judge it."""

from __future__ import annotations

from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Upgrade, check_way_back


def leads_back(upgrade: Upgrade, to: Phase) -> bool:
    """Whether a way leads back to that phase: whoever types it is not refused."""
    try:
        check_way_back(upgrade, to)
    except Conflict:
        return False
    return True


def cancelling(upgrade: Upgrade) -> str:
    """The command that takes the upgrade back to base and ends it there; empty where it is refused."""
    return f"orchestrator upgrade cancel {upgrade.schema} --reason ..." if leads_back(upgrade, Phase.BASE) else ""


def again_from(upgrade: Upgrade, phase: Phase) -> str:
    """The commands that go back to a phase and forward again from there; empty where the first one is refused."""
    if not leads_back(upgrade, phase):
        return ""
    return (
        f"orchestrator upgrade rollback {upgrade.schema} --to {phase.word} --reason ..., and when it is there: "
        f"orchestrator upgrade resume {upgrade.schema}"
    )
