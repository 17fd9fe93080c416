"""The ladder: the phases of an upgrade, who may live in each, and why each is entered. Data, and nothing else.

Old code is release N, new code is release N+1. What code does with the two shapes of the data is its behaviour;
neighbouring behaviours can share a database, others cannot. This table is the whole protocol in one place: the
planner, the guards, the documentation and the status page all read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from orchestrator.domain.errors import Invalid


class Phase(IntEnum):
    """One rung. The numbers order the rungs; people and programs outside see `word`."""

    BASE = 0
    EXPANDED = 1
    BACKFILL = 2
    READ_NEW = 3
    WRITE_NEW = 4
    SEALED = 5
    CONTRACTED = 6

    def __bool__(self) -> bool:
        """True: `phase or ...` means "where none was named", and never "where it is base"."""
        return True

    @property
    def word(self) -> str:
        """The name used in the API, on the command line and in documents, e.g. `read_new`."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> Phase:
        """The phase of that name. Raises `Invalid` (code `phase_unknown`) with the list of names."""
        try:
            return cls[word.upper()]
        except KeyError:
            known = ", ".join(phase.word for phase in cls)
            raise Invalid("phase_unknown", f"there is no phase {word!r}", remedy=f"Phases are: {known}.") from None


class Stage(StrEnum):
    """The operator's coarser view of the ladder."""

    NONE = "none"
    EXPAND = "expand"
    MIGRATE = "migrate"
    CONTRACT = "contract"


class InStepBy(StrEnum):
    """What keeps the old and the new shape in step while both releases run. A release declares it."""

    CLIENT = "client"  # the service asks its phase and switches its behaviour
    TRIGGERS = "triggers"  # triggers in the database; the service knows nothing
    SERVICE = "service"  # the service vouches that N and N+1 coexist on the expanded schema


class Side(StrEnum):
    """Which of the two releases of an upgrade a piece of code is."""

    OLD = "old"
    NEW = "new"


class Behaviour(IntEnum):
    """What code does with the old and the new shape. Two behaviours can share a database if |i - j| <= 1."""

    A0 = 0
    A1 = 1
    A2 = 2
    A3 = 3

    @property
    def reads(self) -> str:
        """Which shape is read: `old` or `new`."""
        return "old" if self < Behaviour.A2 else "new"

    @property
    def writes(self) -> str:
        """Which shapes are written: `old`, `both` or `new`."""
        return ("old", "both", "both", "new")[self]

    @property
    def words(self) -> str:
        """The sentence that people see, e.g. `reads old, writes both`."""
        return f"reads {self.reads}, writes {self.writes}"


class Step(StrEnum):
    """What has to be done in every managed database on the way into a phase."""

    NONE = "none"
    EXPAND = "expand"
    SEAL = "seal"  # sync triggers are dropped, and then writes to the old shape denied
    UNSEAL = "unseal"
    CONTRACT = "contract"

    @property
    def may_be_abandoned(self) -> bool:
        """Whether the upgrade may turn back in the middle: what it has done by then is in nobody's way."""
        return self in (Step.EXPAND, Step.SEAL)


@dataclass(frozen=True, slots=True)
class Rung:
    """One line of the ladder.

    `up` and `down` name the guards that must be open to enter the phase from below and from above, besides the
    ones that hold for every move (`EVERY_MOVE`). `down is None` means that the phase is never entered from above.
    `step` is done on the way into it from below, `step_down` from above.
    """

    phase: Phase
    stage: Stage
    new_code: Behaviour | None
    step: Step
    up: tuple[str, ...]
    down: tuple[str, ...] | None
    why: str
    step_down: Step = Step.NONE


EVERY_MOVE = (
    "not_paused", "not_frozen", "manifest_unchanged", "old_shape_there", "fleets_known", "instances_imported",
    "instances_support", "inventories_support", "roles_settled", "waves_open", "fleets_not_paused", "instances_acked",
    "databases_fenced", "databases_unsealed",
)  # fmt: skip
"""Guards of every move, in the order in which their blockers are shown."""

RUNGS: tuple[Rung, ...] = (
    Rung(Phase.BASE, Stage.NONE, None, Step.NONE, (), (), "Only the old release runs; nothing has changed yet."),
    Rung(
        Phase.EXPANDED, Stage.EXPAND, Behaviour.A1, Step.EXPAND, (), (),
        "The new shape exists beside the old one, so the new release may start and write both.",
    ),
    Rung(
        Phase.BACKFILL, Stage.MIGRATE, Behaviour.A1, Step.NONE,
        ("databases_expanded", "databases_in_step"), ("old_shape_valid",),
        "Every possible writer writes the new shape, so rows can be moved without being missed.",
    ),
    Rung(
        Phase.READ_NEW, Stage.MIGRATE, Behaviour.A2, Step.NONE,
        ("databases_expanded", "databases_in_step", "data_migrated"), ("databases_in_step", "old_shape_valid"),
        "Every row is proven to carry the new shape, so it may be read.",
        Step.UNSEAL,  # sealing may have been abandoned half-way
    ),
    Rung(
        Phase.WRITE_NEW, Stage.MIGRATE, Behaviour.A3, Step.NONE,
        ("databases_expanded", "databases_in_step", "data_migrated", "approved"), (),
        "Nobody reads the old shape any more, so it may go stale.",
        Step.UNSEAL,
    ),
    Rung(
        Phase.SEALED, Stage.CONTRACT, Behaviour.A3, Step.SEAL, ("databases_expanded", "data_migrated", "approved"), (),
        "The database denies writes to the old shape, which shows a forgotten writer before anything is removed.",
    ),
    Rung(
        Phase.CONTRACTED, Stage.CONTRACT, Behaviour.A3, Step.CONTRACT,
        ("databases_expanded", "data_migrated", "databases_sealed", "soaked", "approved"), None,
        "Nothing alive needs the old shape, so it is removed. There is no way back from here.",
    ),
)  # fmt: skip

RUNG_OF: dict[Phase, Rung] = {rung.phase: rung for rung in RUNGS}

POINT_OF_NO_RETURN = Phase.CONTRACTED
"""Once the intent of entering this phase is recorded, the upgrade can only go on."""


@dataclass(frozen=True, slots=True)
class Support:
    """The closed range of phases in which a release may live."""

    low: Phase
    high: Phase

    def __contains__(self, phase: Phase) -> bool:
        return self.low <= phase <= self.high

    def __str__(self) -> str:
        return f"{self.low.word}..{self.high.word}"


SUPPORT: dict[InStepBy, dict[Side, Support]] = {
    InStepBy.CLIENT: {
        Side.OLD: Support(Phase.BASE, Phase.EXPANDED),
        Side.NEW: Support(Phase.EXPANDED, Phase.CONTRACTED),
    },
    InStepBy.TRIGGERS: {
        Side.OLD: Support(Phase.BASE, Phase.READ_NEW),
        Side.NEW: Support(Phase.READ_NEW, Phase.CONTRACTED),
    },
    InStepBy.SERVICE: {
        Side.OLD: Support(Phase.BASE, Phase.EXPANDED),
        Side.NEW: Support(Phase.EXPANDED, Phase.CONTRACTED),
    },
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What an upgrade needs of the ladder; it follows from the release that it goes to.

    `seals` says that this upgrade denies writes to the old shape before it removes it, `reverses` that its release
    brings data migrations that make a stale old shape valid again.
    """

    in_step_by: InStepBy
    has_data_migrations: bool
    has_contract: bool
    seals: bool = False
    reverses: bool = False

    def phases(self) -> tuple[Phase, ...]:
        """The rungs of this upgrade, lowest first.

        A service that vouches for itself has no `read_new`: it does not switch its behaviour, and skips `backfill`
        where no data has to be moved. Everybody else passes both, with data or without: each move changes what code
        does by one behaviour at the most, and on the way back the last reader of the new shape is gone before the
        old release is admitted.
        """
        skipped = set()
        if self.in_step_by is InStepBy.SERVICE:
            skipped.add(Phase.READ_NEW)
            if not self.has_data_migrations:
                skipped.add(Phase.BACKFILL)
        if not (self.has_contract and self.seals):
            skipped.add(Phase.SEALED)
        if not self.has_contract:
            skipped.add(Phase.CONTRACTED)
        return tuple(phase for phase in Phase if phase not in skipped)

    def last(self) -> Phase:
        """The rung at which the upgrade is complete."""
        return self.phases()[-1]

    def neighbour(self, phase: Phase, goal: Phase) -> Phase | None:
        """The next rung from `phase` towards `goal`, or None when it is already there."""
        phases = self.phases()
        here = phases.index(phase)
        if goal > phase and here + 1 < len(phases):
            return phases[here + 1]
        if goal < phase and here > 0:
            return phases[here - 1]
        return None

    def support(self, side: Side) -> Support:
        """The phases in which code of that side may live."""
        return SUPPORT[self.in_step_by][side]

    def behaviour(self, side: Side, phase: Phase) -> Behaviour:
        """What code of that side is told to do in that phase, which must be one that it supports.

        Beside triggers nobody has to switch: the old release reads and writes the old shape, the new one the new.
        """
        if side is Side.OLD:
            return Behaviour.A0
        if self.in_step_by is InStepBy.TRIGGERS:
            return Behaviour.A3
        found = RUNG_OF[phase].new_code
        return Behaviour.A1 if found is None else found

    def reads_old(self, phase: Phase) -> bool:
        """Whether somebody who reads the old shape may live in that phase."""
        return phase < Phase.READ_NEW or phase in self.support(Side.OLD)
