"""Writers: transactions of both releases, in threads of their own, while rows are moved.

What each transaction chooses follows from the seed; how they and the batches meet is up to the database.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random

from sqlalchemy import Connection

from orchestrator.dialects import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.testing.faults import Fault, MigrationFault
from orchestrator.testing.ground import PATIENCE_SECONDS

Writer = Callable[[Connection, Random], object]
"""One transaction of a service: statements on the connection that it is given, chosen by the random numbers that it
is given. It is committed afterwards, and begun anew with the same numbers where the database gave it up."""

WRITES_A_TURN = 3
_LOCK_SECONDS = 2.0


class Writers:
    """Writers by the name under which they are told. No two transactions are given the same random numbers."""

    def __init__(self, database: Database, writers: dict[str, Writer], *, seed: int) -> None:
        self._database = database
        self._writers = writers
        self._seed = seed
        self._written: Counter[str] = Counter()
        self._left = 0

    def allow(self, writes: int) -> None:
        """Let each of them write so many more transactions."""
        self._left = writes

    @contextmanager
    def beside(self, names: Sequence[str], writes: int = WRITES_A_TURN) -> Iterator[None]:
        """So many transactions of each that are still allowed, at once with the block.

        Raises `MigrationFault` where one cannot write.
        """
        writes = min(writes, self._left)
        self._left -= writes
        with ThreadPoolExecutor(len(names), thread_name_prefix="trial-writer") as pool:
            turns = [pool.submit(self._write, name, writes) for name in names]
            yield
        for turn in turns:
            turn.result()

    def _write(self, name: str, writes: int) -> None:
        for _ in range(writes):
            self._written[name] += 1
            self._write_once(name, f"{self._seed}:{name}:{self._written[name]}")

    def _write_once(self, name: str, seed: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._database.writing() as connection:
                    self._database.dialect.lock_timeout(connection, _LOCK_SECONDS)
                    self._writers[name](connection, Random(seed))
                return
            except OrchestratorError as error:
                if error.code == "database_busy" and time.monotonic() < deadline:
                    continue  # a service repeats what its database gave up
                raise MigrationFault(Fault.of(error)) from error
            except Exception as error:
                raise MigrationFault(
                    Fault(
                        "trial_writer_raised",
                        f"{name} raised {type(error).__name__}: {error}",
                        f"Mend what you gave as {name}: it writes on the expanded schema, as its release does.",
                    )
                ) from error
