"""Guard: every possibly-alive instance can live in the phase that is about to be entered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from orchestrator.domain.fleets import Instance
from orchestrator.domain.guards.culprits import expired_blocker, instances_of
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def supports(view: View, release: str, phase: Phase) -> bool:
    """Whether code of `release` may live in `phase` of this upgrade. Foreign releases may not."""
    side = view.upgrade.side_of(release)
    return side is not None and phase in view.upgrade.profile.support(side)


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each fleet with instances, leased or reported, whose release does not support `target`."""
    upgrade = view.upgrade
    wanted = upgrade.to_release if target > upgrade.phase else upgrade.from_release
    offenders: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    for instance in view.instances:
        if not supports(view, instance.release, target):
            offenders[instance.fleet, instance.release].append(instance)
    for (fleet, release), group in sorted(offenders.items()):
        live = [instance for instance in group if not instance.is_expired(view.now)]
        expired = [instance for instance in group if instance.is_expired(view.now)]
        if live:
            yield Blocker(
                "instance_unsupported",
                f"waiting for {instances_of(len(live), fleet)} that still run {release}",
                f"Roll them to {wanted}; they leave by themselves when they are stopped cleanly.",
                tuple(instance.label for instance in live),
            )
        if expired:
            yield expired_blocker(upgrade.schema, fleet, release, expired, view.now)
    for report in view.reports:
        if report.instances and not supports(view, report.release, target):
            yield Blocker(
                "fleet_reported_unsupported",
                f"fleet {report.fleet} is reported to run {report.release} ({report.instances} instances)",
                f"Roll it to {wanted}, then: orchestrator fleet report {upgrade.schema} {report.fleet} "
                f"--release {wanted} --instances N",
                (report.fleet,),
            )
