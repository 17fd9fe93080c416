"""Guard: the manifest says of the release what it said when the upgrade began."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View
from orchestrator.domain.ways_back import cancelling


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed on the way up where it says something else: what is no longer listed would pass for done, or for nobody.

    Also where this daemon has another version of the manifest than the one at which the upgrade was begun.
    """
    upgrade = view.upgrade
    changed = view.new.differences(upgrade.manifest) if upgrade.manifest is not None else ()
    if changed and target > upgrade.phase:
        cancel = cancelling(upgrade)
        otherwise = f" Or begin anew with what it says now: {cancel}" if cancel else ""
        yield Blocker(
            "manifest_changed",
            f"since the upgrade began, the manifest says something else of release {upgrade.to_release}: "
            f"{'; '.join(changed)}",
            f"Put releases.toml back, on every daemon, and restart it.{otherwise}",
        )
