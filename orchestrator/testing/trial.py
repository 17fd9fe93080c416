"""A trial: one data migration put through what awaits it in production, before it gets there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from oslo_db.exception import DBError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ladder import InStepBy
from orchestrator.domain.view import MigrationFacts, MigrationState
from orchestrator.testing.faults import Fault, MigrationFault, told
from orchestrator.testing.functions import faults_of_function
from orchestrator.testing.ground import Ground, url_of
from orchestrator.testing.killing import killed_before_commit
from orchestrator.testing.nulls import faults_of_nulls, faults_of_types
from orchestrator.testing.values import Difference, Rows, Values
from orchestrator.testing.writers import Writer, Writers

__unittest = True  # unittest leaves our frames out of its traceback

ONE, BOTH = "writes_one_shape", "writes_both_shapes"
_BATCHES = 3
_MOST_BATCH_ROWS = 100


class DataMigrationTrial:
    """A data migration in a test database that holds the expanded tables and some rows, a few dozen and odd ones too.

    It is run by the code that runs it in production. `check` does everything; each `check_…` one thing. All raise
    `MigrationFault`, an AssertionError, with sentences for the author. They write to the rows: a test database only.
    Every check begins from the values that the new columns held at first; `check_writers` may leave other rows.

    `writes_one_shape` is a transaction as whoever writes only what the migration reads: the old release; for a reverse
    migration the new release from write_new on. `writes_both_shapes` is one of the new release while it writes both.
    `in_step_by` is what the release declares: with "triggers" the first one goes on while rows are moved, and the
    triggers have to stand in the database. `never_null` are old columns that may be NULL by the catalog, but are not
    while rows are moved. `seed` decides what writers choose, `writes` how many transactions each of them makes.
    """

    def __init__(
        self,
        database: str | Engine,
        file: Path | str,
        *,
        writes_one_shape: Writer | None = None,
        writes_both_shapes: Writer | None = None,
        in_step_by: Literal["client", "triggers", "service"] = "client",
        is_reverse: bool = False,
        never_null: Sequence[str] = (),
        batch_rows: int | None = None,
        writes: int = 30,
        seed: int = 1,
    ) -> None:
        self._ground = Ground(url_of(database), Path(file).absolute(), is_reverse=is_reverse)
        self._rows = Rows(self._ground.database, self._ground.definition, self._ground.target)
        given = {ONE: writes_one_shape, BOTH: writes_both_shapes}
        self._given = tuple(name for name, writer in given.items() if writer is not None)
        self._writers = Writers(
            self._ground.database, {name: writer for name, writer in given.items() if writer is not None}, seed=seed
        )
        self._refuse_arguments(in_step_by, never_null, batch_rows, writes)
        self._in_step_by = in_step_by
        self._never_null = tuple(never_null)
        self._writes = writes
        self._at_first: Values = self._rows.values()
        if not self._at_first:
            raise MigrationFault(
                Fault(
                    "trial_without_rows",
                    f"table {self._ground.definition.table} of {self._ground.database.place} is empty",
                    "Add rows as production has them before the trial: odd ones are what it is for.",
                )
            )
        self._batch_rows = batch_rows or min(max(1, len(self._at_first) // _BATCHES), _MOST_BATCH_ROWS)
        self._undisturbed: Values | None = None

    def _refuse_arguments(
        self, in_step_by: str, never_null: Sequence[str], batch_rows: int | None, writes: int
    ) -> None:
        """Refuse what would be nobody's business in silence: a word or a column that is misspelled, no rows at all."""
        ways, columns = [each.value for each in InStepBy], self._ground.target.table.c.keys()
        if in_step_by not in ways:
            raise _no_argument(f"in_step_by = {in_step_by!r}", f"Give one of {', '.join(map(repr, ways))}.")
        if isinstance(never_null, str) or (unknown := [name for name in never_null if name not in columns]):
            what = f"never_null = {never_null!r}" if isinstance(never_null, str) else f"never_null with {unknown}"
            raise _no_argument(what, f"Give a list of columns of the table, which has {', '.join(columns)}.")
        for name, count in (("batch_rows", 1 if batch_rows is None else batch_rows), ("writes", writes)):
            if not isinstance(count, int) or count < 1:
                raise _no_argument(f"{name} = {count!r}", "Give a number of 1 or more, or leave it out.")

    def check(self) -> None:
        """Everything, in the order of the methods; writers where some were given."""
        __tracebackhide__ = True
        self.check_function()
        self.check_nulls()
        self.check_run()
        self.check_repeat()
        self.check_kill()
        if self._given:
            self.check_writers()

    def check_function(self) -> None:
        """f gives the same answer whenever it is asked, in whatever order, and its answers are of their columns' types.

        Not found are changes that are slower than two calls, unless the call that asks for them is seen: of a clock, a
        file, a connection, a SQL function such as CURRENT_DATE.
        """
        __tracebackhide__ = True
        with self._put_back():
            _require(*faults_of_function(self._ground, self._rows), *faults_of_types(self._ground, self._rows))

    def check_nulls(self) -> None:
        """A row whose old columns are NULL, one at a time, is moved and found again like any other."""
        __tracebackhide__ = True
        with self._put_back():
            _require(*faults_of_nulls(self._ground, self._never_null))

    def check_run(self) -> None:
        """Run to its end it moves every row, and the verification that follows finds no difference."""
        __tracebackhide__ = True
        with self._put_back():
            self._ground.begin()
            self._require_moved(self._ground.run(self._batch_rows), "run in quiet")

    def check_repeat(self) -> None:
        """Run again, over whatever the new columns hold, it comes to the same values.

        Over its own ones, over NULLs, and over those of other rows, as an old release leaves stale ones behind.
        """
        __tracebackhide__ = True
        expected = self._expected()
        for what, before in (("its own", expected), *self._stale(expected)):
            with self._put_back():
                if not self._is_put(before):
                    continue
                self._ground.begin()
                self._require_moved(self._ground.run(self._batch_rows), f"run over {what} values")
                self._require_same(
                    expected,
                    "trial_not_repeatable",
                    f"run over {what} values",
                    "Overwrite the new columns whatever they hold, and compute nothing from them: while the releases "
                    "ran side by side, a stale value may have been left there.",
                )

    def check_kill(self) -> None:
        """Killed before each of its commits in turn, and then let go on by another runner, it comes to the same."""
        __tracebackhide__ = True
        expected = self._expected()
        number, was_killed = 0, True
        with self._put_back():
            while was_killed:
                number += 1
                self._rows.put(self._at_first)
                self._ground.begin()
                with killed_before_commit(self._ground.database, number) as life:
                    self._ground.run(self._batch_rows)
                was_killed = life.was_killed
                self._ground.go_on()
                when = f"killed before its commit {number}, and going on"
                self._require_moved(self._ground.run(self._batch_rows), when)
                self._require_same(
                    expected,
                    "trial_kill_differs",
                    when,
                    "Let each value depend on its row alone: batches that were lost are done again, by another "
                    "process, which remembers nothing.",
                )

    def check_writers(self) -> None:
        """With services writing beside it, every row holds what f gives for it in the end.

        First the releases side by side on the expanded schema. Then rows are moved while those write that may: the new
        release, or with triggers the old one too. Before that, that the new release alone writes what f gives.
        """
        __tracebackhide__ = True
        moving = self._beside_moving()
        with self._put_back():
            self._check_agreement(moving)
        with self._put_back():
            self._write(self._given)
            self._ground.begin()
            self._writers.allow(self._writes)
            facts = self._ground.run(self._batch_rows, partial(self._writers.beside, moving))
            self._require_moved(facts, f"run beside {' and '.join(moving)}")
            self._require_as_computed(f"run beside {' and '.join(moving)}", _RACE)
        self._at_first, self._undisturbed = self._rows.values(), None

    def _check_agreement(self, moving: Sequence[str]) -> None:
        """That who writes while rows are moved leaves what f gives, where nobody else does anything."""
        self._ground.begin()
        self._require_moved(self._ground.run(self._batch_rows), "run in quiet")
        for name in moving:
            self._write((name,))
            self._require_as_computed(f"complete, and {name} alone wrote after it", _AGREEMENT)

    def _write(self, names: Sequence[str]) -> None:
        """Let these write, beside each other and nothing else."""
        self._writers.allow(self._writes)
        with self._writers.beside(names, self._writes):
            pass

    def _beside_moving(self) -> tuple[str, ...]:
        needed = ONE if self._in_step_by == "triggers" else BOTH
        if needed not in self._given:
            raise MigrationFault(
                Fault(
                    "trial_without_writer",
                    f"with in_step_by = {self._in_step_by!r} services write beside a data migration as "
                    f"{needed} does, which is not given",
                    f"Give the trial {needed}: a function of a connection and of random numbers.",
                )
            )
        return self._given if self._in_step_by == "triggers" else (BOTH,)

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """Our own tables made, and the new columns as they were at first; also after it."""
        with self._ground.prepared():
            self._rows.put(self._at_first)
            try:
                yield
            except OrchestratorError as error:
                raise MigrationFault(Fault.of(error)) from error
            finally:
                self._rows.put(self._at_first)

    def _expected(self) -> Values:
        """What the columns hold after an undisturbed run."""
        if self._undisturbed is None:
            with self._put_back():
                self._ground.begin()
                self._require_moved(self._ground.run(self._batch_rows), "run in quiet")
                self._undisturbed = self._rows.values()
        return self._undisturbed

    def _stale(self, expected: Values) -> Iterator[tuple[str, Values]]:
        width = len(self._ground.definition.writes)
        yield "NULL", dict.fromkeys(expected, (None,) * width)
        keys = list(expected)
        yield "other rows'", {key: expected[other] for key, other in zip(keys, [*keys[1:], *keys[:1]], strict=True)}

    def _is_put(self, values: Values) -> bool:
        """Whether the database lets the new columns hold these: one that is NOT NULL or UNIQUE may not."""
        try:
            self._rows.put(values)
        except (SQLAlchemyError, DBError):
            return False
        return True

    def _require_moved(self, facts: MigrationFacts, when: str) -> None:
        """Refuse anything but an end with every row moved and proven."""
        if facts.state is MigrationState.COMPLETE:
            return
        refused = [
            Fault("trial_row_refused", error, "Mend the data migration, or the row if production cannot have it.")
            for error in self._ground.refused_rows()
        ]
        if refused:
            raise MigrationFault(*told(refused))
        if facts.differences:
            self._require_as_computed(when, _LOST_IN_THE_COLUMN if when == "run in quiet" else _RACE)
        sentence = f"{self._ground.definition.place}, {when}, failed: {facts.error}"
        raise MigrationFault(Fault("trial_failed", sentence, "Mend the data migration; its sentence says where."))

    def _require_as_computed(self, when: str, remedy: tuple[str, str]) -> None:
        code, advice = remedy
        self._refuse(self._rows.not_as_computed(), code, when, advice)

    def _require_same(self, expected: Values, code: str, when: str, remedy: str) -> None:
        self._refuse(self._rows.differences(self._rows.values(), expected), code, when, remedy)

    def _refuse(self, found: Sequence[Difference], code: str, when: str, remedy: str) -> None:
        definition = self._ground.definition
        faults = [Fault(code, f"{definition.place}, {when}: {definition.table} {each}", remedy) for each in found]
        _require(*told(faults))


def _no_argument(what: str, remedy: str) -> MigrationFault:
    return MigrationFault(Fault("trial_argument", f"a trial cannot have {what}", remedy))


_AGREEMENT = (
    "trial_release_differs",
    "Let the service write exactly what the data migration computes (or the data migration what the service writes), "
    "in the transaction that writes the other shape; with triggers, let them compute it.",
)
_RACE = (
    "trial_race",
    "Alone they agree, so something is read before it is locked, or written in another transaction: let the service "
    "write both shapes from the same values, in one transaction.",
)
_LOST_IN_THE_COLUMN = (
    "trial_not_as_written",
    "Either f gives another answer each time (check_function looks for that), or the column does not keep what is "
    "written: it is too short, rounds, or something rewrites it. Give it the right type in its expand revision.",
)


def _require(*faults: Fault) -> None:
    if faults:
        raise MigrationFault(*faults)
