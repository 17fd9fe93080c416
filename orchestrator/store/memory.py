"""The state in memory: for tests, and for trying things out. It forgets everything when the process ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from orchestrator.domain.errors import Conflict
from orchestrator.ports import Transaction
from orchestrator.services.clocks import ClockWatch
from orchestrator.store.rows import Kind, R
from orchestrator.store.transaction import StoreTransaction

T = TypeVar("T")

_Contents = dict[type, dict[tuple[object, ...], Any]]


class MemoryStore:
    """Implements `orchestrator.ports.Store`. Transactions run one after the other; `clock` is the database's time.

    `watch` sees every reading of it.
    """

    def __init__(self, clock: Callable[[], float], watch: ClockWatch | None = None) -> None:
        self._clock = clock
        self._watch = watch
        self.incarnation: str | None = None
        self._lock = threading.RLock()
        self._contents: _Contents = {}

    def run(self, work: Callable[[Transaction], T]) -> T:
        with self._lock:
            draft = {kind: dict(found) for kind, found in self._contents.items()}
            outcome = work(StoreTransaction(_MemoryRows(draft, self._clock, self.incarnation), self._watch))
            self._contents = draft
            return outcome

    def read(self, work: Callable[[Transaction], T]) -> T:
        with self._lock:
            draft = {kind: dict(found) for kind, found in self._contents.items()}
            return work(StoreTransaction(_MemoryRows(draft, self._clock, self.incarnation), self._watch))


class _MemoryRows:
    def __init__(self, contents: _Contents, clock: Callable[[], float], incarnation: str | None = None) -> None:
        self._contents = contents
        self._clock = clock
        self.incarnation = incarnation

    @cached_property
    def now(self) -> float:
        return self._clock()

    def _of(self, kind: Kind[R]) -> dict[tuple[object, ...], R]:
        return self._contents.setdefault(kind.record, {})

    def get(self, kind: Kind[R], *key: object) -> R | None:
        return self._of(kind).get(key)

    def find(
        self,
        kind: Kind[R],
        equal: Mapping[str, object],
        *,
        after: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> tuple[R, ...]:
        found = sorted(
            (
                (key, record)
                for key, record in self._of(kind).items()
                if all(getattr(record, name) == value for name, value in equal.items())
                and (after is None or key > (after,))
            ),
            key=lambda pair: pair[0],
            reverse=newest_first,
        )
        return tuple(record for _, record in found[:limit])

    def insert(self, kind: Kind[R], record: R) -> R:
        rows = self._of(kind)
        if kind.numbered:
            record = replace(record, id=1 + max((key[0] for key in rows), default=0))  # type: ignore[type-var,operator]
        key = _key(kind, record)
        if key in rows:
            raise Conflict("duplicate", f"there is a {kind.table.name} record {key} already", remedy="Read it again.")
        rows[key] = record
        return record

    def replace(self, kind: Kind[R], record: R, expected: Mapping[str, object]) -> bool:
        found = self.get(kind, *_key(kind, record))
        if found is None or any(getattr(found, name) != value for name, value in expected.items()):
            return False
        self._of(kind)[_key(kind, record)] = record
        return True

    def find_and_lock(
        self, kind: Kind[R], equal: Mapping[str, object], field: str, values: Sequence[object]
    ) -> tuple[R, ...]:
        """Transactions run one after the other here anyway."""
        wanted = set(values)
        return tuple(record for record in self.find(kind, equal) if getattr(record, field) in wanted)

    def replace_parts(self, kind: Kind[R], records: Sequence[R], fields: Sequence[str]) -> None:
        for record in records:
            found = self._of(kind)[_key(kind, record)]
            news: Any = {name: getattr(record, name) for name in fields}
            self._of(kind)[_key(kind, record)] = replace(found, **news)  # type: ignore[type-var]

    def delete(self, kind: Kind[R], *key: object) -> None:
        self._of(kind).pop(key, None)

    def add(self, kind: Kind[R], equal: Mapping[str, object], amounts: Mapping[str, float]) -> None:
        for record in self.find(kind, equal):
            moved: Any = {name: getattr(record, name) + amount for name, amount in amounts.items()}
            self._of(kind)[_key(kind, record)] = replace(record, **moved)  # type: ignore[type-var]

    def lock(self, kind: Kind[R], *key: object) -> None:
        """Transactions run one after the other here anyway."""


def _key(kind: Kind[R], record: R) -> tuple[object, ...]:
    return tuple(getattr(record, field) for field in kind.key)
