"""Each guard, open and closed: what its blocker is called, whom it names, and what it tells people to do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from orchestrator.domain import planner
from orchestrator.domain.fleets import InstanceState, Registration, Sessions
from orchestrator.domain.guards import GUARDS
from orchestrator.domain.intentions import Intention, Wish
from orchestrator.domain.inventories import Inventory
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.removals import Removal
from orchestrator.domain.roles import Role, RoleSession
from orchestrator.domain.throttling import Reason
from orchestrator.domain.upgrades import Move, Upgrade
from orchestrator.domain.view import Blocker, Copy, MigrationFacts, MigrationState, Policy, View
from tests.domain.test_waves import BEFORE, in_waves, told_in_waves
from tests.domain.views import (
    NEW,
    NOW,
    OLD,
    a_database,
    a_report,
    a_view,
    an_approval,
    an_instance,
    an_upgrade,
    complete,
    with_database,
)

EXPIRED = NOW - 11
SEALING = replace(NEW.profile, seals=True)
BY_TRIGGERS = replace(NEW.profile, in_step_by=InStepBy.TRIGGERS, seals=True)
REVERSIBLE = replace(NEW, reverse_data_migrations=("join_name",))
GOING_BACK = replace(
    an_upgrade(Phase.READ_NEW, goal=Phase.BASE, old_valid=False, release=REVERSIBLE), profile=REVERSIBLE.profile
)
SEALED = replace(an_upgrade(Phase.SEALED), profile=SEALING)
FROZEN = replace(an_upgrade(Phase.BACKFILL), frozen="the state went back", frozen_until=NOW + 30)
THAWING = replace(FROZEN, frozen_until=NOW)
FENCED = an_upgrade(Phase.EXPANDED, fence=Phase.BACKFILL)
AT_BACKFILL = an_upgrade(Phase.BACKFILL)
AT_READ_NEW = an_upgrade(Phase.READ_NEW)
AT_WRITE_NEW = an_upgrade(Phase.WRITE_NEW)
BY_HAND = Removal(
    ("c2",), ("customers.name", "items.status"), ("DELETE FROM alembic_version WHERE version_num = 'c2';",)
)


def asked(guard: str, view: View, target: Phase) -> tuple[Blocker, ...]:
    """The guard's blockers."""
    return tuple(GUARDS[guard](view, target))


@dataclass(frozen=True)
class Closed:
    """A view for which a guard is closed, with what it must say."""

    name: str
    guard: str
    view: View
    target: Phase
    code: str
    culprits: tuple[str, ...]
    remedy: str
    sentence: str = ""
    policy: bool = False


def a_migration(state: MigrationState, **more: object) -> View:
    """At backfill, where one data migration of two is not complete."""
    facts = MigrationFacts("split_name", state, rows_done=40, rows_total=90, rows_verified=20)
    return with_database(a_view(AT_BACKFILL), migrations=(replace(facts, **more), complete("fill_kind")))  # type: ignore[arg-type]


def a_copy(**changes: object) -> View:
    """Fenced, with a copy that differs from the upgrade."""
    held = Copy(FENCED.id, FENCED.phase, FENCED.fence, FENCED.revision, "i1")
    return with_database(a_view(FENCED), copy=replace(held, **changes))  # type: ignore[arg-type]


REGISTERED = Registration("api", "web-1", "tag", "nonce", "1", "rack7", InstanceState.ALIVE, 1, 1.0)

EVICTING = replace(
    an_instance("a1", "1"), state=InstanceState.EVICTING, unproven="it stays", remedy="GRANT x;"
)  # fmt: skip
UNREAD = Inventory("worker", "a query", error="it is gone", remedy="Mend it.", max_age_seconds=60, observed_at=NOW - 1)
CONNECTED = Role("stock_1", "1", sessions=(RoleSession(812, "h1", NOW - 90),), count=1)


def in_roles(upgrade: Upgrade, *roles: Role) -> View:
    """The upgrade with these roles in its database."""
    return with_database(a_view(upgrade), roles=roles)


CLOSED = (
    Closed("joined without a daemon under a name for a shell", "instances_imported",
           with_database(a_view(AT_BACKFILL), registrations=(replace(REGISTERED, id="x; reboot #"),)),
           Phase.READ_NEW, "instance_not_imported", ("x; reboot # on rack7",), "api 'x; reboot #' --attest-dead"),
    Closed("joined without a daemon", "instances_imported",
           with_database(a_view(AT_BACKFILL), registrations=(REGISTERED,)),
           Phase.READ_NEW, "instance_not_imported", ("web-1 on rack7",), "orchestrator instance evict"),
    Closed("paused", "not_paused", a_view(an_upgrade(paused="lunch")), Phase.EXPANDED, "paused", (),
           "upgrade resume inventory", "lunch"),
    Closed("a silent fleet of the old release", "fleets_known", a_view(known_fleets=frozenset({"api"})),
           Phase.EXPANDED, "fleet_unknown", ("worker",), "fleet report inventory worker"),
    Closed("a silent fleet that only the new release has", "fleets_known",
           a_view(FENCED, new=replace(NEW, fleets=("api", "worker", "mailer"))), Phase.BACKFILL, "fleet_unknown",
           ("mailer",), "fleet report inventory mailer"),
    Closed("old instances before backfill", "instances_support",
           a_view(an_upgrade(Phase.EXPANDED), instances=(an_instance("a1", "1", host="h1"), an_instance("a2"))),
           Phase.BACKFILL, "instance_unsupported", ("a1 on h1",), "Roll them to 2", "1 instance of api that still"),
    Closed("new instances on the way to base", "instances_support",
           a_view(an_upgrade(Phase.EXPANDED, goal=Phase.BASE), instances=(an_instance("a2"),)),
           Phase.BASE, "instance_unsupported", ("a2",), "Roll them to 1"),
    Closed("an instance of a foreign release", "instances_support", a_view(instances=(an_instance("a9", "0"),)),
           Phase.EXPANDED, "instance_unsupported", ("a9",), "Roll them to 2"),
    Closed("an expired old instance", "instances_support",
           a_view(an_upgrade(Phase.EXPANDED), instances=(an_instance("a1", "1", expires_at=EXPIRED),)),
           Phase.BACKFILL, "instance_expired", ("a1",), "instance evict inventory api a1 --attest-dead", "11 s ago"),
    Closed("a fleet reported to run the old release", "instances_support",
           a_view(an_upgrade(Phase.EXPANDED), reports=(a_report("1"),)), Phase.BACKFILL, "fleet_reported_unsupported",
           ("worker",), "fleet report inventory worker --release 1 --instances 0"),
    Closed("a fleet reported to run what has to hold leases", "instances_support",
           a_view(an_upgrade(), reports=(a_report("2"),)), Phase.EXPANDED, "lease_required", ("worker",),
           "fleet report inventory worker --release 2 --instances 0"),
    Closed("an instance whose sessions stay", "instances_support",
           a_view(an_upgrade(Phase.EXPANDED), instances=(EVICTING,)), Phase.BACKFILL, "instance_evicting", ("a1",),
           "GRANT x; Or, when you know that the process is gone: orchestrator instance evict inventory api a1 --attest",
           "api a1 with release 1 is being evicted and may still be alive: it stays"),
    Closed("an instance that is being evicted and has not acked", "instances_acked",
           a_view(instances=(replace(EVICTING, acked=BEFORE, unproven=None),)), Phase.EXPANDED, "instance_evicting",
           ("a1",), "by itself", "its sessions are being ended"),
    Closed("an expired instance whose sessions can be told", "instances_support",
           a_view(an_upgrade(Phase.EXPANDED),
                  instances=(replace(an_instance("a1", "1", expires_at=EXPIRED), sessions=Sessions.TAGGED),)),
           Phase.BACKFILL, "instance_expired", ("a1",), "instance evict inventory api a1 --reason"),
    Closed("somebody connected under the old role", "roles_settled", in_roles(an_upgrade(Phase.EXPANDED), CONNECTED),
           Phase.BACKFILL, "role_in_use", ("session 812 from h1, connected for 90 s",), "Roll what runs there to 2",
           "1 session is connected to database main under role stock_1"),
    Closed("somebody connected under the new role on the way to base", "roles_settled",
           in_roles(an_upgrade(Phase.EXPANDED, goal=Phase.BASE), replace(CONNECTED, release="2")), Phase.BASE,
           "role_in_use", ("session 812 from h1, connected for 90 s",), "Roll what runs there to 1"),
    Closed("a role that cannot be locked", "roles_settled",
           in_roles(an_upgrade(Phase.EXPANDED), Role("stock_1", "1", problem="we may not", remedy="GRANT x;")),
           Phase.BACKFILL, "role_unlockable", ("stock_1",), "GRANT x;", "database main: we may not"),
    Closed("a role that is not locked yet", "roles_settled", in_roles(FENCED, Role("stock_1", "1")), Phase.BACKFILL,
           "role_unlocked", ("stock_1",), "by itself"),
    Closed("a source that cannot be read", "inventories_support",
           with_database(a_view(an_upgrade(Phase.EXPANDED)), inventories=(UNREAD,)), Phase.BACKFILL,
           "inventory_unreadable", ("worker",), "Mend it."),
    Closed("a wave that has not acked", "waves_open",
           in_waves(told_in_waves(), an_instance("a1", acked=BEFORE)), Phase.WRITE_NEW, "wave_open", ("a1",),
           "next renewals", "wave 1 of 2 is told read_new: api; 0 of 1 acked"),
    Closed("a fleet that was paused before the phase was published", "fleets_not_paused",
           in_waves(told_in_waves(wave=None), paused=("worker",)), Phase.WRITE_NEW, "fleet_paused", ("worker",),
           "orchestrator fleet resume inventory worker", "stays at backfill: a bad disk"),
    Closed("an instance that follows an earlier publication", "instances_acked",
           a_view(AT_READ_NEW, instances=(an_instance("a1", acked=36), an_instance("a2"))), Phase.WRITE_NEW,
           "instance_not_acked", ("a1",), "next renewals", "drain into read_new"),
    Closed("an ack of an earlier visit of the phase", "instances_acked",
           a_view(AT_BACKFILL, instances=(an_instance("a1", acked=30),)), Phase.READ_NEW, "instance_not_acked",
           ("a1",), "next renewals"),
    Closed("an expired instance that has not acked", "instances_acked",
           a_view(AT_READ_NEW, instances=(an_instance("a1", acked=36, expires_at=EXPIRED),)), Phase.WRITE_NEW,
           "instance_expired", ("a1",), "instance evict inventory api a1 --attest-dead"),
    Closed("an unreachable database", "databases_fenced",
           with_database(a_view(), error="no answer", remedy="Start it."), Phase.EXPANDED, "database_unreachable",
           ("main",), "Start it.", "no answer"),
    Closed("a database that takes no writes", "databases_fenced",
           with_database(a_view(), error="main takes no writes", remedy="Name the primary.", code="database_read_only"),
           Phase.EXPANDED, "database_read_only", ("main",), "Name the primary.", "main takes no writes"),
    Closed("a copy ahead of the state", "databases_fenced", a_copy(revision=FENCED.revision + 1), Phase.BACKFILL,
           "copy_ahead", ("main",), "right one", "lost commits"),
    Closed("a copy without the fence", "databases_fenced", a_copy(fence=Phase.EXPANDED), Phase.BACKFILL,
           "copy_behind", ("main",), "again by itself"),
    Closed("a copy of an earlier revision", "databases_fenced", a_copy(revision=FENCED.revision - 1), Phase.BACKFILL,
           "copy_behind", ("main",), "again by itself"),
    Closed("a copy of another upgrade", "databases_fenced", a_copy(upgrade_id=2), Phase.BACKFILL, "copy_behind",
           ("main",), "again by itself"),
    Closed("a copy of another incarnation", "databases_fenced", a_copy(incarnation="i0"), Phase.BACKFILL,
           "copy_behind", ("main",), "again by itself"),
    Closed("a database without a copy", "databases_fenced", with_database(a_view(FENCED), copy=None), Phase.BACKFILL,
           "copy_behind", ("main",), "again by itself"),
    Closed("a manifest that lists less than at the beginning", "manifest_unchanged",
           a_view(replace(AT_BACKFILL, manifest=NEW.recorded()), new=replace(NEW, data_migrations=())), Phase.READ_NEW,
           "manifest_changed", (), "Put releases.toml back", "data_migrations was split_name, fill_kind and is empty"),
    Closed("a database without its triggers", "databases_in_step",
           with_database(a_view(replace(an_upgrade(Phase.EXPANDED), profile=BY_TRIGGERS)), in_step=False),
           Phase.BACKFILL, "database_not_in_step", ("main",), "upgrade rollback inventory --to base"),
    Closed("going back to read_new without its triggers", "databases_in_step",
           with_database(a_view(replace(an_upgrade(Phase.WRITE_NEW), profile=BY_TRIGGERS)), in_step=False),
           Phase.READ_NEW, "database_not_in_step", ("main",), "put right by hand"),
    Closed("a database that is not sealed any more", "databases_sealed", a_view(SEALED), Phase.CONTRACTED,
           "database_not_sealed", ("main",), "upgrade rollback inventory --to write_new", "customers.name"),
    Closed("a write that was denied", "databases_sealed", with_database(a_view(SEALED), sealed=True, denials=3),
           Phase.CONTRACTED, "old_shape_written", ("main",), "upgrade rollback inventory --to write_new", "3 writes"),
    Closed("a contract that was run by hand", "old_shape_there",
           with_database(a_view(an_upgrade(Phase.EXPANDED)), removal=BY_HAND), Phase.BACKFILL, "contracted_by_hand",
           ("main",), "Type in main: DELETE FROM alembic_version WHERE version_num = 'c2';",
           "database main has contract revision c2 in its version table, which was not run from here: somebody "
           "contracted it by hand; customers.name and items.status are gone"),
    Closed("a contract that was run by hand, on the way back", "old_shape_there",
           with_database(a_view(an_upgrade(Phase.SEALED, goal=Phase.BASE)), removal=BY_HAND), Phase.WRITE_NEW,
           "contracted_by_hand", ("main",), "customers.name and items.status back"),
    Closed("an old column that was dropped by hand", "old_shape_there",
           with_database(a_view(AT_BACKFILL), removal=Removal((), ("customers.name",))), Phase.EXPANDED,
           "old_shape_gone", ("main",), "Put customers.name back there", "which release 1 uses"),
    Closed("an unsealing that was lost", "databases_unsealed",
           with_database(a_view(replace(AT_BACKFILL, profile=SEALING)), unsealed=False), Phase.READ_NEW,
           "database_still_sealed", ("main",), "by itself", "customers.name"),
    Closed("lost commits", "not_frozen", a_view(FROZEN), Phase.READ_NEW, "commits_lost", (), "by itself",
           "the state went back"),
    Closed("lost commits and somebody who was not heard of", "not_frozen",
           a_view(THAWING, instances=(an_instance("a1", acked=36),)), Phase.READ_NEW, "instance_not_acked", ("a1",),
           "next renewals"),
    Closed("lost commits and somebody who cannot live here", "not_frozen",
           a_view(THAWING, instances=(an_instance("a1", "1"),)), Phase.READ_NEW, "instance_unsupported", ("a1",),
           "instance evict inventory api a1"),
    Closed("lost commits and a database that does not know", "not_frozen", with_database(a_view(THAWING), copy=None),
           Phase.READ_NEW, "copy_behind", ("main",), "by itself"),
    Closed("a database that lost what expand made", "databases_expanded",
           with_database(a_view(AT_BACKFILL), expanded=False), Phase.READ_NEW, "database_not_expanded", ("main",),
           "upgrade rollback inventory --to base"),
    Closed("a proof from while the old release ran", "data_migrated",
           a_view(AT_BACKFILL.with_doubt("fleet api was reported to run 1 in backfill")), Phase.READ_NEW,
           "proof_doubtful", (), "upgrade rollback inventory --to expanded", "reported to run 1"),
    Closed("a data migration that is not in the ledger", "data_migrated",
           with_database(a_view(AT_BACKFILL), migrations=(complete("fill_kind"),)), Phase.READ_NEW,
           "data_migration_pending", ("main/split_name",), "upgrade rollback inventory --to base"),
    Closed("a data migration that waits", "data_migrated", a_migration(MigrationState.PENDING), Phase.READ_NEW,
           "data_migration_running", ("main/split_name",), "data-migration show inventory split_name"),
    Closed("a data migration that moves rows", "data_migrated", a_migration(MigrationState.RUNNING), Phase.READ_NEW,
           "data_migration_running", ("main/split_name",), "data-migration show", "40 of 90 rows moved"),
    Closed("a data migration that moves rows which were inserted since", "data_migrated",
           a_migration(MigrationState.RUNNING, rows_done=97), Phase.READ_NEW,
           "data_migration_running", ("main/split_name",), "data-migration show", "97 of 97 rows moved"),
    Closed("a data migration that is being verified", "data_migrated", a_migration(MigrationState.VERIFYING),
           Phase.READ_NEW, "data_migration_running", ("main/split_name",), "data-migration show",
           "20 of 90 rows verified"),
    Closed("a data migration that failed", "data_migrated", a_migration(MigrationState.FAILED, error="3 differ"),
           Phase.READ_NEW, "data_migration_failed", ("main/split_name",),
           "data-migration retry inventory split_name", "3 differ"),
    Closed("a data migration without a witness", "data_migrated", a_migration(MigrationState.COMPLETE),
           Phase.READ_NEW, "witness_stale", ("main/split_name",), "data-migration retry inventory split_name"),
    Closed("a witness of another incarnation", "data_migrated", a_migration(MigrationState.COMPLETE, witness="i0"),
           Phase.READ_NEW, "witness_stale", ("main/split_name",), "data-migration retry inventory split_name"),
    Closed("a data migration of this release that was assumed", "data_migrated", a_migration(MigrationState.ASSUMED),
           Phase.READ_NEW, "data_migration_running", ("main/split_name",), "data-migration show"),
    Closed("an unmigrated row before contract", "data_migrated",
           with_database(a_view(AT_WRITE_NEW), migrations=a_migration(MigrationState.RUNNING).databases[0].migrations),
           Phase.CONTRACTED, "data_migration_running", ("main/split_name",),
           "data-migration retry inventory split_name --database main"),
    Closed("a data migration of an earlier release", "data_migrated",
           a_view(AT_WRITE_NEW, earlier_migrations=("old_one",)), Phase.CONTRACTED, "data_migration_skipped",
           ("main/old_one",), "data-migration assume inventory old_one --database main --attest-done"),
    Closed("going back once the old shape is stale", "old_shape_valid",
           a_view(an_upgrade(Phase.READ_NEW, old_valid=False)), Phase.BACKFILL, "old_shape_stale", (), "only go on"),
    Closed("going back below sealed beside triggers", "old_shape_valid",
           a_view(replace(an_upgrade(Phase.WRITE_NEW, old_valid=False), profile=BY_TRIGGERS)), Phase.READ_NEW,
           "old_shape_stale", (), "only go on"),
    Closed("a soak that is not over", "soaked", a_view(AT_WRITE_NEW, policy=Policy((), soak_seconds=160)),
           Phase.CONTRACTED, "soaking", (), "--force soaked", "60 s are left", policy=True),
    Closed("no approval", "approved", a_view(AT_WRITE_NEW, policy=Policy((Phase.CONTRACTED,))), Phase.CONTRACTED,
           "approval_required", (), "upgrade approve inventory --phase contracted", "customers.name", policy=True),
    Closed("the approval of another phase", "approved",
           a_view(AT_READ_NEW, policy=Policy((Phase.WRITE_NEW,)), approvals=(an_approval(Phase.CONTRACTED),)),
           Phase.WRITE_NEW, "approval_required", (), "--phase write_new", policy=True),
)  # fmt: skip


@pytest.mark.parametrize("case", CLOSED, ids=lambda case: f"{case.guard}: {case.name}")
def test_a_closed_guard_names_code_culprit_and_remedy(case: Closed) -> None:
    (blocker,) = asked(case.guard, case.view, case.target)
    assert blocker.code == case.code
    assert blocker.culprits == case.culprits
    assert case.remedy in blocker.remedy
    assert case.sentence in blocker.sentence
    assert blocker.policy is case.policy


OPEN = (
    ("instances_imported", with_database(a_view(AT_BACKFILL), registrations=()), Phase.READ_NEW),
    ("instances_imported", with_database(
        a_view(AT_BACKFILL), registrations=(replace(REGISTERED, state=InstanceState.LEFT),)), Phase.READ_NEW),
    ("instances_imported", with_database(
        a_view(AT_BACKFILL, instances=(replace(an_instance(), fleet="api", id="web-1", tag="tag"),)),
        registrations=(REGISTERED,)), Phase.READ_NEW),
    ("not_paused", a_view(), Phase.EXPANDED),
    ("manifest_unchanged", a_view(), Phase.EXPANDED),
    ("manifest_unchanged", a_view(replace(AT_BACKFILL, manifest=NEW.recorded())), Phase.READ_NEW),
    ("manifest_unchanged", a_view(replace(AT_BACKFILL, manifest=OLD.recorded())), Phase.EXPANDED),
    ("fleets_known", a_view(), Phase.EXPANDED),
    ("fleets_known", a_view(new=replace(NEW, fleets=("api", "worker", "mailer"))), Phase.EXPANDED),
    ("instances_support", a_view(), Phase.EXPANDED),
    ("instances_support", a_view(instances=(an_instance("a1", "1"),)), Phase.EXPANDED),
    ("instances_support", a_view(an_upgrade(Phase.EXPANDED), instances=(an_instance(),)), Phase.BACKFILL),
    ("instances_support", a_view(an_upgrade(Phase.EXPANDED), reports=(a_report("1", 0),)), Phase.BACKFILL),
    ("fleets_known", replace(in_roles(an_upgrade(), Role("stock_1", "1")), known_fleets=frozenset()), Phase.EXPANDED),
    ("inventories_support", with_database(
        a_view(an_upgrade(Phase.EXPANDED)), inventories=(replace(UNREAD, error=None),)), Phase.BACKFILL),
    ("roles_settled", in_roles(an_upgrade(), CONNECTED), Phase.EXPANDED),
    ("roles_settled", in_roles(an_upgrade(Phase.EXPANDED), Role("stock_1", "1")), Phase.BACKFILL),
    ("roles_settled", in_roles(FENCED, Role("stock_1", "1", is_locked=True)), Phase.BACKFILL),
    ("roles_settled", in_roles(FENCED, Role("stock_2", "2", problem="we may not", remedy="x")), Phase.BACKFILL),
    ("waves_open", a_view(), Phase.EXPANDED),
    ("waves_open", in_waves(told_in_waves(wave=None)), Phase.WRITE_NEW),
    ("waves_open", in_waves(told_in_waves()), Phase.BACKFILL),
    ("fleets_not_paused", a_view(), Phase.EXPANDED),
    ("fleets_not_paused", in_waves(told_in_waves(wave=None)), Phase.WRITE_NEW),
    ("fleets_not_paused", in_waves(told_in_waves(), paused=("worker",)), Phase.BACKFILL),
    ("instances_acked", a_view(instances=(an_instance("a1", "1"),)), Phase.EXPANDED),
    ("instances_acked", a_view(reports=(a_report("1"),)), Phase.EXPANDED),
    ("databases_fenced", a_view(), Phase.EXPANDED),
    ("databases_fenced", with_database(a_view(), copy=None), Phase.EXPANDED),
    ("databases_fenced", a_view(FENCED), Phase.BACKFILL),
    ("databases_expanded", a_view(AT_BACKFILL), Phase.READ_NEW),
    ("old_shape_there", a_view(AT_BACKFILL), Phase.READ_NEW),
    ("old_shape_there", with_database(
        a_view(an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED, move=Move.STEPPING)), removal=BY_HAND),
        Phase.CONTRACTED),
    ("data_migrated", a_view(AT_BACKFILL), Phase.READ_NEW),
    ("data_migrated", a_view(AT_BACKFILL, new=replace(NEW, data_migrations=())), Phase.READ_NEW),
    ("old_shape_valid", a_view(an_upgrade(Phase.READ_NEW)), Phase.BACKFILL),
    ("old_shape_valid", a_view(an_upgrade(Phase.WRITE_NEW, old_valid=False)), Phase.READ_NEW),
    ("not_frozen", a_view(), Phase.EXPANDED),
    ("not_frozen", a_view(THAWING, instances=(an_instance(),)), Phase.READ_NEW),
    ("databases_in_step", with_database(a_view(an_upgrade(Phase.EXPANDED)), in_step=False), Phase.BACKFILL),
    ("databases_in_step", a_view(replace(an_upgrade(Phase.EXPANDED), profile=BY_TRIGGERS)), Phase.BACKFILL),
    ("databases_sealed", a_view(AT_WRITE_NEW), Phase.CONTRACTED),
    ("databases_sealed", with_database(a_view(SEALED), sealed=True), Phase.CONTRACTED),
    ("databases_sealed", with_database(a_view(SEALED), sealed=True, denials=0), Phase.CONTRACTED),
    ("databases_unsealed", a_view(replace(AT_BACKFILL, profile=SEALING)), Phase.READ_NEW),
    ("databases_unsealed", with_database(a_view(replace(AT_WRITE_NEW, profile=SEALING)), unsealed=False), Phase.SEALED),
    ("databases_unsealed", with_database(a_view(SEALED), unsealed=False), Phase.CONTRACTED),
    ("soaked", a_view(AT_WRITE_NEW), Phase.CONTRACTED),
    ("soaked", a_view(AT_WRITE_NEW, policy=Policy((), soak_seconds=100)), Phase.CONTRACTED),
    ("soaked", a_view(AT_WRITE_NEW, policy=Policy((), soak_seconds=160),
                      approvals=(an_approval(Phase.CONTRACTED, forced=("soaked",)),)), Phase.CONTRACTED),
    ("approved", a_view(AT_WRITE_NEW), Phase.CONTRACTED),
    ("approved", a_view(AT_WRITE_NEW, policy=Policy((Phase.CONTRACTED,)),
                        approvals=(an_approval(Phase.CONTRACTED),)), Phase.CONTRACTED),
)  # fmt: skip


@pytest.mark.parametrize(("guard", "view", "target"), OPEN, ids=lambda value: value if isinstance(value, str) else "")
def test_an_open_guard_says_nothing(guard: str, view: View, target: Phase) -> None:
    assert asked(guard, view, target) == ()


def test_nobody_goes_back_beside_the_old_release_while_a_trigger_that_keeps_both_in_step_is_missing() -> None:
    back = replace(an_upgrade(Phase.WRITE_NEW, old_valid=True), profile=BY_TRIGGERS, goal=Phase.READ_NEW)
    decision = planner.decide(with_database(a_view(back), in_step=False))
    assert isinstance(decision, planner.Refusal)
    assert [blocker.code for blocker in decision.blockers] == ["database_not_in_step"]


def test_the_way_back_waits_for_the_rows_that_reverse_data_migrations_move() -> None:
    view = a_view(GOING_BACK, new=REVERSIBLE)
    waiting, unrecorded = asked("old_shape_valid", view, Phase.BACKFILL)
    assert (waiting.code, waiting.culprits) == ("old_shape_stale_yet", ("main/join_name",))
    assert unrecorded.code == "old_shape_restored"
    broken = Reason("throttle gate", "", True, "throttle gate cannot be read: NULL", "Mend it.", "throttle:gate")
    throttled, _ = asked("old_shape_valid", replace(view, waits={"main": (broken,)}), Phase.BACKFILL)
    assert throttled.remedy.startswith(
        "Mend it. Not to wait for it: orchestrator data-migration set inventory throttle"
    )
    failed = with_database(view, migrations=(MigrationFacts("join_name", MigrationState.FAILED, error="2 differ"),))
    assert asked("old_shape_valid", failed, Phase.BACKFILL)[0].code == "data_migration_failed"
    proven = with_database(view, migrations=(complete("join_name"),))
    assert [blocker.code for blocker in asked("old_shape_valid", proven, Phase.BACKFILL)] == ["old_shape_restored"]


def test_every_guard_is_seen_open_and_closed() -> None:
    assert {case.guard for case in CLOSED} == {guard for guard, _, _ in OPEN} == set(GUARDS)


def test_a_witness_of_another_incarnation_is_good_once_the_old_shape_may_be_stale() -> None:
    """From write_new on a comparison would prove nothing; the ledger says that it was proven in its time."""
    moved = with_database(a_view(AT_WRITE_NEW), migrations=tuple(complete(name, "i0") for name in NEW.data_migrations))
    assert asked("data_migrated", moved, Phase.CONTRACTED) == ()


def test_the_witness_is_asked_for_after_backfill_on_the_ladder_of_a_service_too() -> None:
    service = replace(NEW, in_step_by=InStepBy.SERVICE)
    upgrade = an_upgrade(Phase.BACKFILL, release=service)
    stale = with_database(
        a_view(upgrade, new=service), migrations=tuple(complete(name, "i0") for name in NEW.data_migrations)
    )
    assert {blocker.code for blocker in asked("data_migrated", stale, Phase.WRITE_NEW)} == {"witness_stale"}


def test_live_and_expired_instances_are_told_apart_by_fleet_and_release() -> None:
    view = a_view(
        an_upgrade(Phase.EXPANDED),
        instances=(
            an_instance("a1", "1"),
            an_instance("a2", "1"),
            an_instance("a3", "1", expires_at=EXPIRED),
            an_instance("w1", "1", fleet="worker"),
        ),
    )
    found = asked("instances_support", view, Phase.BACKFILL)
    assert [(blocker.code, blocker.culprits) for blocker in found] == [
        ("instance_unsupported", ("a1", "a2")),
        ("instance_expired", ("a3",)),
        ("instance_unsupported", ("w1",)),
    ]
    assert "2 instances of api" in found[0].sentence


def test_every_database_answers_for_itself() -> None:
    upgrade = AT_BACKFILL
    databases = (a_database("one", upgrade=upgrade), replace(a_database("two", upgrade=upgrade), migrations=()))
    found = asked("data_migrated", a_view(upgrade, databases=databases), Phase.READ_NEW)
    assert [blocker.culprits for blocker in found] == [("two/split_name",), ("two/fill_kind",)]


def test_contract_says_that_nothing_seals_the_old_shape() -> None:
    unknown = replace(NEW, old_shape=())
    view = a_view(AT_WRITE_NEW, policy=Policy((Phase.CONTRACTED,)), new=unknown)
    (blocker,) = asked("approved", view, Phase.CONTRACTED)
    assert "no way back" in blocker.sentence
    assert "not sealed: old shape unknown" in blocker.sentence


def test_stepping_does_not_ask_the_copies_again() -> None:
    """They held the fence when the step's intent was recorded, which is a revision of its own."""
    stepping = an_upgrade(Phase.BASE, fence=Phase.EXPANDED, move=Move.STEPPING)
    behind = with_database(a_view(stepping), copy=Copy(3, Phase.BASE, Phase.EXPANDED, stepping.revision - 1, "i1"))
    assert asked("databases_fenced", behind, Phase.EXPANDED) == ()


def test_the_way_back_names_who_paused_the_rows_that_it_waits_for() -> None:
    intention = Intention("inventory", "join_name", "main", Wish.PAUSED, "alice", "month-end", 0.0)
    view = replace(a_view(GOING_BACK, new=REVERSIBLE), intentions=(intention,))
    paused, _ = asked("old_shape_valid", view, Phase.BACKFILL)
    assert (paused.code, paused.culprits) == ("data_migration_paused", ("main/join_name",))
    assert "orchestrator data-migration resume inventory join_name --database main" in paused.remedy


def test_a_retry_that_moves_less_than_all_rows_says_so_where_rows_move() -> None:
    for phase, rows, is_said in ((Phase.BACKFILL, 5, True), (Phase.BACKFILL, None, False), (Phase.READ_NEW, 5, False)):
        view = a_migration(MigrationState.FAILED, error="1 of 9 rows differs", differences=1, rows_to_repair=rows)
        view = replace(view, upgrade=replace(view.upgrade, phase=phase))
        said = next(each.sentence for each in asked("data_migrated", view, Phase.READ_NEW))
        assert ("a retry moves 5 rows again, and compares all" in said) == is_said
