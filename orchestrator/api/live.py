"""Live: all that changes in upgrades, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question
from orchestrator.api.watch import Document, Watch
from orchestrator.domain.errors import OrchestratorError

EVENT_STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
"""How long nothing is sent at the most: so both ends, and whatever is between them, notice a dead one."""

RETRY_MILLISECONDS = 2000


class WatchQuestion(Question, frozen=True, kw_only=True):
    """`schema` narrows the stream to one."""

    schema: Name | None = None


async def stream(asked: Asked[WatchQuestion, Nothing]) -> Answer:
    """An event `upgrade` for each schema at once, and again when its upgrade changes; its data is the upgrade.

    Who reads slowly misses what was between, and never the latest. A comment comes while nothing changes. The stream
    ends with the daemon: connect anew, to another one.
    """
    asked.watch.check_room()
    names = (asked.query.schema,) if asked.query.schema is not None else asked.services.board.names
    documents = {name: await asked.watch.document(name) for name in names}
    return Answer(_events(asked.watch, documents), media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})


async def _events(watch: Watch, documents: Mapping[str, Document]) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % RETRY_MILLISECONDS
    seen, news = dict(documents), documents
    while True:
        for document in news.values():
            yield b"event: upgrade\nid: %d\ndata: %b\n\n" % (document.revision, document.body)
        seen.update(news)
        try:
            changed = await watch.changes(seen, HEARTBEAT_SECONDS)
        except OrchestratorError:  # one waiter too many
            return
        if watch.is_closed:
            return
        news = changed or {}
        if not news:
            yield b": nothing has changed\n\n"
