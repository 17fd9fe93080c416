"""Events: the audit log."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, View

MOST_EVENTS = 1000
LARGEST_ID = 2**31 - 1


class EventsQuestion(Question, frozen=True, kw_only=True):
    """Entries after the one with the number `after`; without it the newest `limit`."""

    schema: Name | None = None
    after: Annotated[int, Meta(ge=-1, le=LARGEST_ID)] = -1
    limit: Annotated[int, Meta(ge=1, le=MOST_EVENTS)] = 100


class EventView(View, frozen=True, kw_only=True):
    """One line of the audit log: when, what, who, on what, in words, and why."""

    id: int
    at: float
    action: str
    actor: str
    schema: str | None
    upgrade: int | None
    subject: str | None
    sentence: str
    reason: str | None


class EventList(View, frozen=True, kw_only=True):
    """Entries, oldest first. Asking again with `after` = `last` goes on from here."""

    events: tuple[EventView, ...]
    last: int


def list_(asked: Asked[EventsQuestion, Nothing]) -> Answer:
    question = asked.query
    if question.schema is not None:
        asked.services.board.standing(question.schema)  # a name that is none is refused, not an empty list
    found = asked.services.board.events(schema=question.schema, after=question.after, limit=question.limit)
    views = tuple(
        EventView(
            id=event.id,
            at=event.at,
            action=event.action,
            actor=event.actor,
            schema=event.schema,
            upgrade=event.upgrade_id,
            subject=event.subject,
            sentence=event.sentence,
            reason=event.reason,
        )
        for event in found
    )
    return Answer(EventList(events=views, last=found[-1].id if found else max(question.after, 0)))
