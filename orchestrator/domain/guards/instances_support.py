"""Guard: every possibly-alive instance can live in the phase that is about to be entered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from orchestrator.domain.fleets import Instance
from orchestrator.domain.guards.culprits import instances_of, silent_blockers, those_that_answer
from orchestrator.domain.ladder import InStepBy, Phase, Side
from orchestrator.domain.view import Blocker, View


def supports(view: View, release: str, phase: Phase) -> bool:
    """Whether code of `release` may live in `phase` of this upgrade. Foreign releases may not."""
    side = view.upgrade.side_of(release)
    return side is not None and phase in view.upgrade.profile.support(side)


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each fleet with instances, leased or reported, whose release does not support `target`.

    What switches its behaviour with the phase has to hold leases: a report of it stands for nobody who would hear.
    """
    upgrade = view.upgrade
    going_up = target > upgrade.phase
    wanted = upgrade.to_release if going_up else upgrade.from_release
    offenders: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    for instance in view.instances:
        if not supports(view, instance.release, target):
            offenders[instance.fleet, instance.release].append(instance)
    for (fleet, release), group in sorted(offenders.items()):
        live = those_that_answer(group, view.now)
        if live:
            yield Blocker(
                "instance_unsupported",
                f"waiting for {instances_of(len(live), fleet)} that still run{'s' if len(live) == 1 else ''} {release}",
                f"Roll them to {wanted}; they leave by themselves when they are stopped cleanly.",
                tuple(instance.label for instance in live),
            )
        yield from silent_blockers(upgrade.schema, fleet, release, group, view.now)
    needs_leases = upgrade.profile.in_step_by is InStepBy.CLIENT
    for report in view.reports:
        side = upgrade.side_of(report.release)
        saying = f"orchestrator fleet report {upgrade.schema} {report.fleet}"
        if not report.instances:
            continue
        if needs_leases and side is Side.NEW:
            yield Blocker(
                "lease_required",
                f"fleet {report.fleet} is reported to run {report.release} ({report.instances} instances), which "
                "switches its behaviour with the phase and so has to hold leases",
                f"Let its instances register, then: {saying} --release {report.release} --instances 0",
                (report.fleet,),
            )
        elif not supports(view, report.release, target):
            said = f"{report.release} --instances 0" if needs_leases and going_up else f"{wanted} --instances N"
            yield Blocker(
                "fleet_reported_unsupported",
                f"fleet {report.fleet} is reported to run {report.release} ({report.instances} instances)",
                f"Roll it to {wanted}, then: {saying} --release {said}",
                (report.fleet,),
            )
