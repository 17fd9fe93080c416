"""Rows control: what operators want of data migrations, and what they set of their pace, while rows are moved.

Every verb writes its word and its audit line in one transaction. Each daemon reads the words before each batch: what
is paused begins no further one, and what is set is in force from the next one on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.domain.errors import Invalid, NotFound, NotYet, OrchestratorError
from orchestrator.domain.intentions import Intention, Wish
from orchestrator.domain.order import DONE
from orchestrator.domain.overlay import (
    EVERYWHERE,
    PRIORITIES,
    PRIORITY,
    Option,
    Refused,
    Setting,
    known_options,
    overlay_of,
    said_value,
)
from orchestrator.domain.view import MigrationState
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, event, latest_readings
from orchestrator.services.vouching import check_reason


@dataclass(frozen=True, slots=True)
class OptionStatus:
    """One option in one database: what is configured, what is in force, and whose word that is if it was set.

    `option` None: something was set that the configuration does not know any more, and that has no effect.
    """

    database: str
    name: str
    option: Option | None
    setting: Setting | None

    @property
    def in_force(self) -> float | None:
        """Its value now, None where it has no effect."""
        if self.option is None:
            return None
        return self.option.configured if self.setting is None else self.setting.value


class RowsControl:
    """`actor` is who asks. Where a verb is refused nothing has changed."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # -- what is wanted of a data migration ----------------------------------------------------------------------------

    def pause(self, schema: str, name: str, database: str | None, *, actor: str, reason: str) -> None:
        """Let no further batch of it begin, in one database or in all that there are now. Repeatable.

        A batch that is under way ends. One that is cancelled stays so. It may be made before its upgrade begins.
        """
        check_reason(reason)
        databases = self._databases(schema, name, database)

        def work(tx: Transaction) -> None:
            cancelled = {each.database for each in _of(tx, schema, name) if each.wish is Wish.CANCELLED}
            paused = [each for each in databases if each not in cancelled]
            for each in paused:
                tx.save_intention(Intention(schema, name, each, Wish.PAUSED, actor, reason, tx.now))
            if paused:
                event(
                    tx, "data_migration.pause", f"{actor} paused {name} in {', '.join(paused)}",
                    actor=actor, schema=schema, subject=name, reason=reason,
                )  # fmt: skip

        self._context.store.run(work)

    def cancel(self, schema: str, name: str, database: str | None, *, actor: str, reason: str) -> None:
        """Let no further batch of it begin, and send it back to its start where it is not complete. Repeatable.

        No row is touched: what it moved stays as it is, and is moved again. The word is on record first; a database
        that does not answer, or where a batch is under way, goes back as soon as it can. Raises `NotFound` (code
        `nothing_to_cancel`) where it is complete.
        """
        check_reason(reason)
        databases = self._databases(schema, name, database)

        def work(tx: Transaction) -> list[str]:
            states = self._states(tx, schema, name)
            found = [each for each in databases if states.get(each) not in DONE]
            if not found:
                raise NotFound(
                    "nothing_to_cancel",
                    f"data migration {name} is complete in {', '.join(databases)}",
                    remedy=f"To have its rows moved again: orchestrator data-migration retry {schema} {name} "
                    "--database ...",
                )
            for each in found:
                tx.save_intention(Intention(schema, name, each, Wish.CANCELLED, actor, reason, tx.now))
            event(
                tx, "data_migration.cancel", f"{actor} cancelled {name} in {', '.join(found)}",
                actor=actor, schema=schema, subject=name, reason=reason,
            )  # fmt: skip
            return found

        for each in self._context.store.run(work):
            with suppress(OrchestratorError):  # daemons go on with it, between two batches
                self._context.managed(schema).give_up_migration(each, name)

    def resume(self, schema: str, name: str, database: str | None, *, actor: str, reason: str | None) -> None:
        """Let it run again. Repeatable. One that was cancelled begins at its start.

        Raises `NotYet` (code `data_migration_not_at_start`) where it is not there yet.
        """
        databases = self._databases(schema, name, database)
        held = self._context.store.read(lambda tx: _of(tx, schema, name))
        for each in held:
            if each.database in databases and each.wish is Wish.CANCELLED:
                self._send_back(each)

        def work(tx: Transaction) -> None:
            found = [each for each in _of(tx, schema, name) if each.database in databases and each in held]
            for each in found:
                tx.end_intention(each)
            if found:
                where = ", ".join(each.database for each in found)
                event(
                    tx, "data_migration.resume", f"{actor} resumed {name} in {where}",
                    actor=actor, schema=schema, subject=name, reason=reason,
                )  # fmt: skip

        self._context.store.run(work)

    def _send_back(self, intention: Intention) -> None:
        """Make sure that it is at its start, where it was ever enrolled."""
        schema, name, database = intention.schema, intention.name, intention.database
        try:
            self._context.managed(schema).give_up_migration(database, name)
        except NotFound:
            return  # its ledger does not have it: it has not begun
        except OrchestratorError as error:
            if error.code == "not_in_backfill":
                return  # no batch moves its cursor; leaving the phase sent it back, or the next one goes on
            raise NotYet(
                "data_migration_not_at_start",
                f"data migration {name} was cancelled, and has not gone back to its start in {database} yet: "
                f"{error.message}",
                remedy=f"Repeat it: orchestrator data-migration resume {schema} {name} --database {database}",
            ) from error

    # -- what is set ---------------------------------------------------------------------------------------------------

    def prioritise(self, schema: str, name: str, priority: int | None, *, actor: str, reason: str | None) -> None:
        """Set which of several that may run has its turn first: the highest; None: 0 again. Raises `Invalid`."""
        self._databases(schema, name, None)
        if priority is not None and priority not in PRIORITIES:
            raise Invalid(
                "option_value_invalid",
                f"{PRIORITY}: its value cannot be used: it is not between {PRIORITIES[0]} and {PRIORITIES[-1]}",
                remedy="Give a whole number. The highest has its turn first; without one it is 0.",
            )

        def work(tx: Transaction) -> None:
            setting = Setting(schema, EVERYWHERE, name, PRIORITY, priority or 0, actor, reason, tx.now)
            if priority is None:
                tx.clear_setting(setting)
                sentence = f"{actor} cleared the priority of {name}"
            else:
                tx.save_setting(setting)
                sentence = f"{actor} gave {name} the priority {priority}"
            event(tx, "data_migration.set", sentence, actor=actor, schema=schema, subject=name, reason=reason)

        self._context.store.run(work)

    def set(
        self,
        schema: str,
        database: str | None,
        values: Mapping[str, float],
        defaults: Sequence[str],
        *,
        actor: str,
        reason: str | None,
    ) -> None:
        """Set these options over the configuration, and let that be in force again for `defaults`: all, or none.

        In one database, or in the whole schema; what is set for one database goes before. Repeatable. Raises `Invalid`
        for what the option, or the database, does not allow, and `NotFound` for what was not set.
        """
        managed = self._context.managed(schema)
        databases = self._in(schema, database)
        for name, value in values.items():
            if name in defaults:
                raise _refused(name, Refused("option_ambiguous", "it is to be set and cleared", "Do one of them."))
            for each in databases:
                _check(managed, each, name, value)

        def work(tx: Transaction) -> None:
            place, said = database or EVERYWHERE, []
            known = {each.option: each for each in tx.settings(schema) if (each.database, each.name) == (place, "")}
            for name in defaults:
                if name not in known:
                    raise NotFound(
                        "nothing_set",
                        f"{name} was not set for {database or f'all of {schema}'}",
                        remedy=f"orchestrator data-migration pace {schema}",
                    )
                tx.clear_setting(known[name])
                said.append(f"cleared {name}, which was {said_value(known[name].value)},")
            for name, value in values.items():
                tx.save_setting(Setting(schema, place, "", name, value, actor, reason, tx.now))
                before = f" instead of {said_value(known[name].value)}" if name in known else ""
                said.append(f"set {name} to {said_value(value)}{before}")
            where = f"in {database}" if database else f"in all of {schema}"
            event(
                tx, "data_migration.set", f"{actor} {' and '.join(said)} {where}".replace(", and", " and"),
                actor=actor, schema=schema, subject=database or schema, reason=reason,
            )  # fmt: skip

        if values or defaults:
            self._context.store.run(work)

    def options(self, schema: str) -> tuple[OptionStatus, ...]:
        """What may be set in each database, beside what is configured, and what was set by whom."""
        managed = self._context.managed(schema)
        settings = self._context.store.read(lambda tx: tx.settings(schema))
        found = []
        for database in managed.databases:
            over = dict(overlay_of(settings, database).settings)
            for option in managed.options(database):
                setting = over.pop(option.name, None)
                if option.refused is None or setting is not None:
                    found.append(OptionStatus(database, option.name, option, setting))
            found += [OptionStatus(database, name, None, setting) for name, setting in over.items()]
        return tuple(found)

    # -- what there is -------------------------------------------------------------------------------------------------

    def _in(self, schema: str, database: str | None) -> tuple[str, ...]:
        """The database of that name, or all. Raises `NotFound` (code `database_unknown`)."""
        known = self._context.managed(schema).databases
        if database is None:
            return known
        if database not in known:
            raise NotFound(
                "database_unknown",
                f"{schema} has no database {database!r}",
                remedy=f"Its databases: {', '.join(known)}.",
            )
        return (database,)

    def _databases(self, schema: str, name: str, database: str | None) -> tuple[str, ...]:
        """As `_in`, for a data migration. Raises `NotFound` for one that no release has."""
        if not self._context.managed(schema).releases.beside(name):
            raise NotFound(
                "data_migration_unknown",
                f"no release of {schema} has a data migration {name!r}",
                remedy=f"orchestrator data-migration list {schema}",
            )
        return self._in(schema, database)

    def _states(self, tx: Transaction, schema: str, name: str) -> dict[str, MigrationState]:
        """Where it stands in each database that has been read."""
        readings = latest_readings(tx, self._context.managed(schema))
        found = ((reading.name, facts) for reading in readings for facts in reading.migrations if facts.name == name)
        return {database: facts.state for database, facts in found}


def _of(tx: Transaction, schema: str, name: str) -> tuple[Intention, ...]:
    return tuple(each for each in tx.intentions(schema) if each.name == name)


def _check(managed: ManagedSchema, database: str, name: str, value: float) -> None:
    """Raise `Invalid` where that option cannot have this value in that database."""
    options = managed.options(database)
    option = next((each for each in options if each.name == name), None)
    if option is None:
        raise _unknown(managed, database, name)
    refused = option.refusal(value)
    if refused is not None:
        raise _refused(name, refused)


def _unknown(managed: ManagedSchema, database: str, name: str) -> Invalid:
    here = managed.options(database)
    known = {option.name for option in here}
    elsewhere: dict[str, list[str]] = {}
    for other in managed.databases:
        for option in managed.options(other):
            if option.name not in known:
                elsewhere.setdefault(option.name, []).append(other)
    if name in elsewhere:
        return Invalid(
            "option_unknown",
            f"{name} can be set in {', '.join(elsewhere[name])}, and not in {database}",
            remedy=f"Set it there alone: {'; '.join(f'--database {each}' for each in elsewhere[name])}.",
        )
    more = f" In other databases also: {', '.join(elsewhere)}." if elsewhere else ""
    return Invalid(
        "option_unknown",
        f"nothing of that name can be set in {database}: {name}",
        remedy=f"Known: {known_options(here)}.{more}",
    )


def _refused(name: str, refused: Refused) -> Invalid:
    return Invalid(refused.code, f"{name}: {refused.why}", remedy=refused.remedy)
