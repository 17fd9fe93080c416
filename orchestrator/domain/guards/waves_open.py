"""Guard: the present phase was told to every fleet, one wave after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from orchestrator.domain.guards.culprits import instances_of
from orchestrator.domain.ladder import Phase
from orchestrator.domain.telling import has_acked, held_fleets, teller
from orchestrator.domain.view import Blocker, View
from orchestrator.domain.waves import CANARY


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed until the last wave is open. Going back does not wait for that: nobody more is told what is left again."""
    if target >= view.upgrade.phase:
        yield from open_wave(view, target)


def open_wave(view: View, target: Phase) -> Iterator[Blocker]:
    """What the open wave waits for before the next one follows; nothing once everybody is told."""
    upgrade, waves = view.upgrade, view.policy.waves
    telling = upgrade.telling
    if telling is None or telling.wave is None:
        return
    tells, held = teller(view), held_fleets(upgrade, view.pauses)
    told = [instance for instance in view.instances if tells(instance)]
    waiting = [instance for instance in told if not has_acked(upgrade, instance, told=True)]
    left = soak_left(view, target)
    if telling.wave == CANARY:
        counts = sorted(Counter(instance.fleet for instance in told).items())
        whom = ", ".join(instances_of(number, fleet) for fleet, number in counts) or "nobody yet"
    else:
        open_to = (fleet for fleet in _fleets(view) if waves.number_of(fleet) <= telling.wave and fleet not in held)
        whom = ", ".join(open_to) or "nobody"
    acked = f"{len(told) - len(waiting)} of {len(told)} acked"
    soak = f"; {left:.0f} s until the next wave" if left > 0 else ""
    yield Blocker(
        "wave_open",
        f"{waves.word(telling.wave)} is told {upgrade.phase.word}: {whom}; {acked}{soak}",
        _remedy(view, target, waits=bool(waiting)),
        tuple(instance.label for instance in waiting),
        policy=left > 0 and not waiting,
    )


def may_open_next(view: View) -> bool:
    """Whether the next wave follows now: on the way up, or at the goal, and never while the upgrade is paused."""
    upgrade, target = view.upgrade, view.upgrade.target
    telling = upgrade.telling
    if telling is None or telling.wave is None or upgrade.paused is not None:
        return False
    if target is not None and target < upgrade.phase:
        return False
    tells = teller(view)
    are_drained = all(has_acked(upgrade, instance, told=True) for instance in view.instances if tells(instance))
    return are_drained and soak_left(view, target or upgrade.phase) <= 0


def wave_after(view: View) -> tuple[int | None, str]:
    """The wave that follows the open one, None where that is the last one; and who hears of the phase then."""
    telling, waves = view.upgrade.telling, view.policy.waves
    wave = None if telling is None or telling.wave is None else waves.after(telling.wave)
    number = waves.last if wave is None else wave
    held = held_fleets(view.upgrade, view.pauses)
    whom = [fleet for fleet in _fleets(view) if waves.number_of(fleet) == number and fleet not in held]
    return wave, f"{waves.word(wave)}: {', '.join(whom) or 'nobody'}"


def _fleets(view: View) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*view.old.fleets, *view.new.fleets)))


def soak_left(view: View, target: Phase) -> float:
    """How long the open wave still has to stand. An operator may force it with the approval of the next phase.

    A wave that told nobody anything needs no time.
    """
    telling, approval = view.upgrade.telling, view.approval(target)
    if telling is None or (approval is not None and "waves_open" in approval.forced):
        return 0.0
    tells = teller(view)
    if not any(tells(instance) for instance in view.instances):
        return 0.0
    return max(0.0, telling.since + view.policy.waves.soak_seconds - view.now)


def _remedy(view: View, target: Phase, *, waits: bool) -> str:
    if waits:
        return "They answer with their next renewals; a transaction that never ends holds them up."
    if target <= view.upgrade.phase:
        return "The next wave follows by itself."
    return (
        f"The next wave follows by itself, or at once: orchestrator upgrade approve {view.upgrade.schema} "
        f"--phase {target.word} --force waves_open --reason ..."
    )
