"""Looking: several databases are asked something together, and one that hangs is not waited for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orchestrator.domain.view import DatabaseFacts

PATIENCE_SECONDS = 10.0

T = TypeVar("T")


def unanswered(database: str, seconds: float, *, file: str | None = None) -> DatabaseFacts:
    """What is known of a database that did not answer in time. `file` is given of one that has no server."""
    if file is not None:
        return DatabaseFacts(
            database,
            error=f"it has not answered within {seconds:g} s: another process may hold the lock of its file",
            remedy=f"Find it with `fuser -v {file}`, and let it end its transaction, or stop it. It is read as soon as "
            "it answers.",
        )
    return DatabaseFacts(
        database,
        error=f"it has not answered within {seconds:g} s",
        remedy="Is its server stopped or overloaded, or cut off? It is read as soon as it answers.",
    )


@dataclass(slots=True, eq=False)
class _Look(Generic[T]):
    """One look, from its beginning until somebody takes what it found."""

    database: str
    question: object
    begun_at: float
    found: list[T | BaseException] = field(default_factory=list)


class Looks(Generic[T]):
    """Looks at the databases of one schema, `parallel` at once; one caller at a time.

    A look that takes longer than `patience_seconds` is left to itself and takes nobody's place: no driver can be
    trusted to give up when a server is frozen. `late` is what is said of it meanwhile. What it finds in the end is
    used, if that is still what is asked.
    """

    def __init__(
        self,
        parallel: int,
        late: Callable[[str, float], T],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parallel = parallel
        self._late = late
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._ended = threading.Condition()
        self._looks: dict[str, _Look[T]] = {}

    def at(self, databases: Sequence[str], question: object, look: Callable[[str], T]) -> tuple[T, ...]:
        """The answers of these databases, in their order. Equal questions have equal answers.

        Raises what a look raised.
        """
        with self._ended:
            for name in databases:
                known = self._looks.get(name)
                if known is not None and known.found and known.question != question:
                    del self._looks[name]
            waiting = deque(name for name in databases if name not in self._looks)
            while True:
                late = self._clock() - self._patience_seconds
                active = [each for each in self._looks.values() if not each.found and each.begun_at > late]
                while waiting and len(active) < self._parallel:
                    active.append(self._begin(waiting.popleft(), question, look))
                if not active:
                    break
                self._ended.wait(max(0.0, min(each.begun_at for each in active) - late))
            return tuple(self._take(name, question) for name in databases)

    def _begin(self, database: str, question: object, look: Callable[[str], T]) -> _Look[T]:
        begun: _Look[T] = _Look(database, question, self._clock())
        self._looks[database] = begun

        def work() -> None:
            try:
                found: T | BaseException = look(database)
            except BaseException as error:  # raised where the answer is taken
                found = error
            with self._ended:
                begun.found.append(found)
                self._ended.notify_all()

        # A thread that nobody joins: the daemon can stop while a look hangs.
        threading.Thread(target=work, name=f"look-{database}", daemon=True).start()
        return begun

    def _take(self, database: str, question: object) -> T:
        look = self._looks[database]
        if not look.found or look.question != question:
            return self._late(database, self._patience_seconds)
        del self._looks[database]
        (found,) = look.found
        if isinstance(found, BaseException):
            raise found
        return found
