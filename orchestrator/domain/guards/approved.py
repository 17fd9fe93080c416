"""Guard: an operator said yes to entering the phase, if the site's policy asks for it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import EVERY_MOVE, POINT_OF_NO_RETURN, RUNG_OF, Phase
from orchestrator.domain.view import Blocker, Policy, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed until the phase is approved, for the phases that the policy lists."""
    if target not in view.policy.approve or view.approval(target) is not None:
        return
    notes = ""
    if target is POINT_OF_NO_RETURN:
        notes = f"; there is no way back from it{unsealed_note(view)}"
    yield Blocker(
        "approval_required",
        f"entering {target.word} needs an operator's approval{notes}",
        f"orchestrator upgrade approve {view.upgrade.schema} --phase {target.word} --reason ...",
        policy=True,
    )


def counts(policy: Policy, phase: Phase, forced: tuple[str, ...]) -> bool:
    """Whether a yes to that phase can be of use: the policy asks for it, or it overrides what may hold the phase up."""
    soaks = {"soaked": policy.soak_seconds, "waves_open": policy.waves.soak_seconds}
    guards = (*EVERY_MOVE, *RUNG_OF[phase].up)
    return phase in policy.approve or any(soaks[name] > 0 for name in forced if name in guards)


def unsealed_note(view: View) -> str:
    """What plan and approval say where nothing denies writes to the old shape, or nothing at all."""
    if view.upgrade.profile.seals:
        return ""
    if not view.new.old_shape:
        return "; not sealed: old shape unknown"
    return f"; not sealed: nothing denies writes to {', '.join(view.new.old_shape)}, so a forgotten writer would fail"
