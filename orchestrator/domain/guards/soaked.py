"""Guard: the upgrade stayed long enough in the phase before, if the site's policy asks for it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed until the soak time of the policy has passed in the present phase. An operator may force it."""
    approval = view.approval(target)
    if approval is not None and "soaked" in approval.forced:
        return
    left = view.upgrade.told_since + view.policy.soak_seconds - view.now
    if left > 0:
        yield Blocker(
            "soaking",
            f"{view.upgrade.phase.word} has to stand for {view.policy.soak_seconds:.0f} s before {target.word}; "
            f"{left:.0f} s are left",
            f"It passes by itself, or: orchestrator upgrade approve {view.upgrade.schema} --phase {target.word} "
            "--force soaked --reason ...",
            policy=True,
        )
