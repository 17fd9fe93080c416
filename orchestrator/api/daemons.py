"""Daemons: who serves and who leads; count one out that is dead."""

from __future__ import annotations

from typing import Any

from orchestrator.api.exchange import Answer, Asked, Nothing, Question, Reason, View
from orchestrator.domain.daemons import Daemon
from orchestrator.services.daemons import DaemonStatus


class DaemonsQuestion(Question, frozen=True, kw_only=True):
    """`all` also lists those that left or were evicted."""

    all: bool = False


class EvictDaemonRequest(Question, frozen=True, kw_only=True):
    """Count a daemon out. `attest_dead` is the word of whoever asks that it is gone: expiry alone proves nothing."""

    reason: Reason
    attest_dead: bool = False


class DaemonView(View, frozen=True, kw_only=True):
    """One daemon: state is alive (possibly), left or evicted; where it listens; the newest own releases it knows."""

    id: str
    host: str
    address: str
    version: str
    state_release: str
    bookkeeping_release: str
    state: str
    started_at: float
    renewed_at: float
    expires_at: float
    ended_at: float | None
    ended_by: str | None
    end_reason: str | None


class ListedDaemonView(DaemonView, frozen=True, kw_only=True):
    """The same, with whether its lease ran out, whether it leads and since when, and how long ago it was heard of."""

    expired: bool
    leads: bool
    leads_since: float | None
    silent_seconds: float


class WaitView(View, frozen=True, kw_only=True):
    """A daemon that keeps the orchestrator's own tables from being contracted, and what clears it."""

    daemon: str
    sentence: str
    remedy: str


class DaemonList(View, frozen=True, kw_only=True):
    """Daemons, oldest first. `waits` says which of them keep the orchestrator's own tables from being contracted.

    `clock` says that the state database's clock jumped a short while ago, or is null.
    """

    daemons: tuple[ListedDaemonView, ...]
    waits: tuple[WaitView, ...]
    clock: str | None


def list_(asked: Asked[DaemonsQuestion, Nothing]) -> Answer:
    daemons = asked.services.daemons
    return Answer(
        DaemonList(
            daemons=tuple(_listed(each) for each in daemons.list(all_states=asked.query.all)),
            waits=tuple(
                WaitView(daemon=wait.daemon.id, sentence=wait.sentence, remedy=wait.remedy)
                for wait in daemons.waiting()
            ),
            clock=daemons.clock,
        )
    )


def evict(asked: Asked[Nothing, EvictDaemonRequest]) -> Answer:
    body = asked.body
    ended = asked.services.daemons.evict(
        asked.path["id"], actor=asked.who, reason=body.reason, attested_dead=body.attest_dead
    )
    return Answer(DaemonView(**_fields(ended)))


def _listed(status: DaemonStatus) -> ListedDaemonView:
    return ListedDaemonView(
        **_fields(status.daemon), expired=status.is_expired, leads=status.leads, leads_since=status.leads_since,
        silent_seconds=status.silent_seconds,
    )  # fmt: skip


def _fields(daemon: Daemon) -> dict[str, Any]:
    return {name: getattr(daemon, name) for name in DaemonView.__struct_fields__}
