"""The operations behind `alembic.op` while a revision runs: each thread its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import alembic.op
from alembic.operations import BatchOperations, Operations
from alembic.operations.ops import MigrateOperation
from alembic.runtime.migration import MigrationContext

Observer = Callable[[MigrateOperation], bool]
"""Told of each operation before it is performed; says whether it is to be performed. May raise to refuse it."""


class ObservedOperations(Operations):
    """Operations that tell an observer of each operation, those of `batch_alter_table` included."""

    def __init__(
        self,
        context: MigrationContext,
        observer: Observer,
        *,
        performs: bool = True,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`around` is entered for each operation while it is performed."""
        super().__init__(context)
        self._observer = observer
        self._performs = performs
        self._around = around

    def invoke(self, operation: MigrateOperation) -> Any:
        """Perform the operation if the observer agrees."""
        wanted = self._observer(operation)
        if wanted and self._performs:
            with self._around():
                return super().invoke(operation)
        to_table = getattr(operation, "to_table", None)
        return None if to_table is None else to_table(self.migration_context)

    @contextmanager
    def batch_alter_table(self, table_name: str, *args: Any, **kw: Any) -> Iterator[BatchOperations]:
        """As Alembic's. Where nothing is performed, no table is rebuilt, because that needs a database to look at."""
        if not self._performs:
            kw["recreate"] = "never"
        with super().batch_alter_table(table_name, *args, **kw) as batch:
            yield _ObservedBatch(batch, self._observer, self._performs)


class _ObservedBatch(BatchOperations):
    def __init__(self, batch: BatchOperations, observer: Observer, performs: bool) -> None:
        super().__init__(batch.migration_context, impl=batch.impl)
        self._observer = observer
        self._performs = performs

    def invoke(self, operation: MigrateOperation) -> Any:
        """Note the operation for the end of the batch."""
        self._observer(operation)
        return super().invoke(operation) if self._performs else None


@contextmanager
def running(operations: Operations) -> Iterator[None]:
    """Let `alembic.op` mean these operations in this thread, as long as the block runs.

    Alembic keeps one set of operations for the whole process; several databases are migrated at the same time here.
    """
    _install()
    token = _current.set(operations)
    try:
        yield
    finally:
        _current.reset(token)


_current: ContextVar[Operations | None] = ContextVar("orchestrator_operations", default=None)


class _OperationsOfThisThread:
    def __getattr__(self, name: str) -> Any:
        operations = _current.get()
        if operations is None:
            raise NameError(f"op.{name} cannot be used here: no revision is running")
        return getattr(operations, name)


_proxy = _OperationsOfThisThread()
_install_lock = threading.Lock()


def _install() -> None:
    with _install_lock:
        if vars(alembic.op).get("_proxy") is not _proxy:
            vars(alembic.op)["_proxy"] = _proxy
