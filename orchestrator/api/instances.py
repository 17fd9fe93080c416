"""Instances: one process each. Register, renew, ack, leave; list them; evict one that is dead."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import asdict
from starlette.concurrency import run_in_threadpool

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, Reason, View
from orchestrator.domain.errors import Invalid
from orchestrator.domain.fleets import Instance, Sessions
from orchestrator.domain.ladder import Phase
from orchestrator.domain.losses import Follows
from orchestrator.domain.upgrades import MOST_REVISION
from orchestrator.services.leases import Lease
from orchestrator.services.renewing import Renewal

LEASE_EPOCH = "Lease-Epoch"


class JoinRequest(Question, frozen=True, kw_only=True):
    """A new process registers. The same id and nonce again repeat harmlessly.

    `sessions` "tagged" says that each database session of it can be told by its lease, and looks whether that was
    evicted before it works: then it can be evicted with proof.
    """

    id: Name
    nonce: Name
    release: Name
    host: Name | None = None
    sessions: Sessions | None = None


MOST_UPGRADE = 2**31 - 1
"""Where the numbers of upgrades end."""


class FollowsRequest(Question, frozen=True, kw_only=True):
    """What the process was told last of an upgrade, drained or not, with the signature that it was told with.

    What the state does not know is believed by that signature, or where the copy in a managed database tells the same.
    """

    upgrade: Annotated[int, Meta(ge=0, le=MOST_UPGRADE)]
    publication: Annotated[int, Meta(ge=0, le=MOST_REVISION)]
    phase: Name
    signature: Name | None = None


class RenewRequest(Question, frozen=True, kw_only=True):
    """`ack` is the publication whose behaviour it follows with every earlier transaction ended; null while draining.

    `follows` lets the state notice that it has lost its last commits; null between upgrades.
    """

    ack: Annotated[int, Meta(ge=0)] | None = None
    follows: FollowsRequest | None = None


class EvictRequest(Question, frozen=True, kw_only=True):
    """Count a process out, for expiry alone proves nothing.

    `attest_dead` is the word of whoever asks that it is gone. Without it, its sessions are ended in every database
    first, where they can be told.
    """

    reason: Reason
    attest_dead: bool = False


class InstancesQuestion(Question, frozen=True, kw_only=True):
    """`fleet` narrows the list; `all` also lists those that left or were evicted."""

    fleet: Name | None = None
    all: bool = False


class StandingView(View, frozen=True, kw_only=True):
    """What an instance follows: which shape it reads and which it writes, from its own release's point of view.

    `signature` is to be sent back in `follows`, as it is; null between upgrades.
    """

    upgrade: int | None
    publication: int
    phase: str
    reads: str
    writes: str
    signature: str | None = None


class LeaseView(View, frozen=True, kw_only=True):
    """A lease: for how long, when to renew, and what to follow."""

    id: str
    schema: str
    fleet: str
    release: str
    ttl_seconds: float
    renew_seconds: float
    standing: StandingView


class JoinView(LeaseView, frozen=True, kw_only=True):
    """A new lease. The epoch is its secret; it is told once more only to the same id and nonce."""

    epoch: str


class InstanceView(View, frozen=True, kw_only=True):
    """One process as it is shown: state is alive (possibly), evicting (possibly alive still), left or evicted.

    `acked` is the publication it follows. `sessions` is "tagged" where its sessions can be told. `proof` says how its
    eviction was proven; while it is evicting, `unproven` says why it is not yet, with `remedy`.
    """

    id: str
    schema: str
    fleet: str
    release: str
    host: str | None
    state: str
    acked: int
    joined_at: float
    renewed_at: float
    expires_at: float
    ended_at: float | None
    ended_by: str | None
    end_reason: str | None
    sessions: Sessions | None
    proof: str | None
    unproven: str | None
    remedy: str | None


class InstanceList(View, frozen=True, kw_only=True):
    """Processes of a schema."""

    schema: str
    instances: tuple[InstanceView, ...]


def list_(asked: Asked[InstancesQuestion, Nothing]) -> Answer:
    found = asked.services.leases.list(asked.schema, asked.query.fleet, all_states=asked.query.all)
    return Answer(InstanceList(schema=asked.schema, instances=tuple(_instance_view(each) for each in found)))


async def join(asked: Asked[Nothing, JoinRequest]) -> Answer:
    """201 for a new lease, 200 for one that was given before."""
    body = asked.body
    lease = await asked.desks.join(
        asked.services.leases.joining(
            asked.schema,
            asked.path["fleet"],
            instance_id=body.id,
            nonce=body.nonce,
            release=body.release,
            host=body.host,
            sessions=body.sessions,
        )
    )
    await run_in_threadpool(asked.services.nudge, asked.schema)
    view = JoinView(epoch=lease.epoch, **asdict(lease_view(lease)))
    return Answer(view, 201 if lease.is_new else 200)


async def renew(asked: Asked[Nothing, RenewRequest]) -> Answer:
    """Extend the lease, ack, and hear what is published now."""
    epoch, body = _epoch(asked.headers.get(LEASE_EPOCH)), asked.body
    renewal = Renewal(asked.schema, asked.path["fleet"], asked.path["id"], epoch, body.ack, follows_of(body.follows))
    return Answer(lease_view(await asked.desks.renew(renewal)))


def leave(asked: Asked[Nothing, Nothing]) -> Answer:
    """End the lease: drained, pools closed. Repeatable."""
    asked.services.leases.leave(
        asked.schema, asked.path["fleet"], asked.path["id"], epoch=_epoch(asked.headers.get(LEASE_EPOCH))
    )
    asked.services.nudge(asked.schema)
    return Answer(None, 204)


def evict(asked: Asked[Nothing, EvictRequest]) -> Answer:
    """Count it out in any phase, on somebody's word or with proof; audited. Repeatable."""
    ended = asked.services.leases.evict(
        asked.schema,
        asked.path["fleet"],
        asked.path["id"],
        actor=asked.who,
        reason=asked.body.reason,
        attested_dead=asked.body.attest_dead,
    )
    asked.services.nudge(asked.schema)
    return Answer(_instance_view(ended))


def _epoch(header: str | None) -> str:
    if not header:
        raise Invalid(
            "lease_epoch_missing",
            f"the header {LEASE_EPOCH} is missing",
            remedy="Send the epoch that the registration was answered with.",
        )
    return header


def follows_of(told: FollowsRequest | None) -> Follows | None:
    """What a process says that it was told last, for which nobody vouches. Raises `Invalid` for an unknown phase."""
    if told is None:
        return None
    phase = Phase.from_word(told.phase)
    return Follows(told.upgrade, told.publication, phase, is_vouched=False, signature=told.signature)


def lease_view(lease: Lease) -> LeaseView:
    """A lease as its holder is told it."""
    instance, stance = lease.instance, lease.stance
    return LeaseView(
        id=instance.id,
        schema=instance.schema,
        fleet=instance.fleet,
        release=instance.release,
        ttl_seconds=lease.ttl_seconds,
        renew_seconds=lease.renew_seconds,
        standing=StandingView(
            upgrade=stance.upgrade_id,
            publication=stance.publication,
            phase=stance.phase.word,
            reads=stance.behaviour.reads,
            writes=stance.behaviour.writes,
            signature=lease.signature,
        ),
    )


def _instance_view(instance: Instance) -> InstanceView:
    return InstanceView(
        id=instance.id,
        schema=instance.schema,
        fleet=instance.fleet,
        release=instance.release,
        host=instance.host,
        state=instance.state.value,
        acked=instance.acked,
        joined_at=instance.joined_at,
        renewed_at=instance.renewed_at,
        expires_at=instance.expires_at,
        ended_at=instance.ended_at,
        ended_by=instance.ended_by,
        end_reason=instance.end_reason,
        sessions=instance.sessions,
        proof=instance.proof,
        unproven=instance.unproven,
        remedy=instance.remedy,
    )
