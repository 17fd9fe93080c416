"""Guard: nobody took the old shape away by hand: until the upgrade removes it itself, somebody may need it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed, both ways, for a database whose contract revisions were run by hand, or that lost what they remove.

    Not any more once the upgrade is about to remove it.
    """
    upgrade = view.upgrade
    if upgrade.is_past_return:
        return
    for facts in view.databases:
        removal = facts.removal
        if facts.error is not None or removal is None:
            continue
        sentence, remedy = removal.told(facts.name, upgrade.from_release), removal.remedy(facts.name)
        if removal.revisions:
            yield Blocker("contracted_by_hand", sentence, remedy, (facts.name,))
        else:
            yield Blocker("old_shape_gone", sentence, remedy, (facts.name,))
