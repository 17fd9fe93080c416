"""The daemon's jobs, on APScheduler: campaign, cycle, evictions, batches, sweep.

The schedule lives in memory, truth in tables.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from oslo_log import log

from orchestrator.daemon.notify import notify
from orchestrator.domain.errors import Never, OrchestratorError
from orchestrator.domain.planner import LiftFence, Refusal
from orchestrator.domain.view import Blocker
from orchestrator.services.advancing import Advancing, Outcome
from orchestrator.services.context import Context
from orchestrator.services.daemons import Daemons, Wait
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.evicting import Evicting
from orchestrator.services.leadership import Elections
from orchestrator.services.sweeping import Sweep

LOG = log.getLogger(__name__)

MOST_ROW_WORKERS = 32
"""In so many databases rows are moved at the same time; the others wait for their turn. So many threads more there may
be at the most for databases where several workers are at the rows: they keep no other database from its first."""

MOST_SENTENCES = 5
"""So many blockers are logged at once; `orchestrator status` has them all."""

_BY_ITSELF = ("data_migration_pending", "data_migration_running")
_STATE, _LEADERSHIP = "state", "leadership"
_STEERING, _ROWS, _MORE_ROWS = "steering", "rows", "more_rows"


class Jobs:
    """Starts and stops the recurring work of one daemon. While another one leads, it only campaigns and moves rows.

    Moving rows may take days, so it has threads of its own: whoever steers never waits for one. `stopping` is set by
    `stop`, for work that waits meanwhile. `end` ends this daemon, which is called when it was evicted.
    `row_workers` are by schema and database, 1 where it says nothing.
    """

    def __init__(
        self,
        context: Context,
        elections: Elections,
        advancing: Advancing,
        data_migrations: DataMigrations,
        evicting: Evicting,
        sweep: Sweep,
        daemons: Daemons,
        stopping: threading.Event,
        *,
        contract_own_tables: Callable[[], tuple[Wait, ...]],
        end: Callable[[], None],
        cycle_seconds: float,
        campaign_seconds: float,
        row_workers: Mapping[tuple[str, str], int] = {},
    ) -> None:
        self._context = context
        self._elections = elections
        self._advancing = advancing
        self._data_migrations = data_migrations
        self._evicting = evicting
        self._sweep = sweep
        self._daemons = daemons
        self._contract_own_tables = contract_own_tables
        self._end = end
        self._stopping = stopping
        self._cycle_seconds = cycle_seconds
        self._campaign_seconds = campaign_seconds
        self._ended = threading.Condition()  # a piece of work has ended; its lock covers the next line
        self._under_way = 0
        self._epoch: int | None = None
        self._said: dict[str, Hashable] = {}
        self._said_of_state: set[str] = set()
        self._saying = threading.Lock()
        places = [(name, database) for name, managed in context.schemas.items() for database in managed.databases]
        self._row_workers = {place: max(1, row_workers.get(place, 1)) for place in places}
        further = sum(self._row_workers.values()) - len(places)
        self._scheduler = BackgroundScheduler(
            executors={
                _STEERING: ThreadPoolExecutor(2 + 2 * len(context.schemas)),
                _ROWS: ThreadPoolExecutor(max(1, min(MOST_ROW_WORKERS, len(places)))),
                _MORE_ROWS: ThreadPoolExecutor(max(1, min(MOST_ROW_WORKERS, further))),
            },
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        # A job that is still running when its next turn comes is meant to skip it.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    @property
    def is_running(self) -> bool:
        """Whether the scheduler is up and not stopping."""
        return bool(self._scheduler.running) and not self._stopping.is_set()

    def start(self) -> None:
        """Campaign once, so that a lone daemon leads from the start, then begin the recurring work."""
        self._guarded(self._campaign)
        self._every(self._campaign_seconds, "campaign", self._campaign)
        self._every(self._campaign_seconds, "sweep", self._sweep_leases)
        self._every(self._campaign_seconds, "own_tables", self._tend_own_tables)
        for name, managed in self._context.schemas.items():
            self._every(self._cycle_seconds, f"cycle:{name}", self._cycle, name)
            self._every(self._cycle_seconds, f"evict:{name}", self._evict, name)
            for database in managed.databases:
                turn = f"batches:{name}:{database}"
                self._every(self._cycle_seconds, turn, self._move_rows, name, database, executor=_ROWS)
        for worker in range(2, max(self._row_workers.values(), default=1) + 1):
            for (name, database), workers in self._row_workers.items():
                if worker <= workers:
                    turn, also = f"batches:{name}:{database}:{worker}", f"worker {worker}"
                    self._every(
                        self._cycle_seconds, turn, self._help_move_rows, name, database, also, executor=_MORE_ROWS
                    )
        self._scheduler.start()

    def stop(self) -> None:
        """Let running work end: a batch ends or rolls back, a step ends or stops waiting. Then give up leadership.

        Repeatable.
        """
        self._stopping.set()
        with self._ended:  # first, since the scheduler keeps its locks while it shuts down, and a job may want them
            self._ended.wait_for(lambda: not self._under_way)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        try:
            self._elections.resign()
            self._daemons.leave()
        except OrchestratorError as error:
            unresigned = str(error)
        else:
            return
        LOG.warning("this daemon did not leave: %(error)s", {"action": "daemon.leave", "error": unresigned})

    def nudge(self, schema: str) -> None:
        """Look at this schema now instead of at its next turn."""
        for job in ("evict", "cycle"):
            with suppress(JobLookupError):
                self._scheduler.modify_job(f"{job}:{schema}", next_run_time=datetime.now(UTC))

    def _every(
        self, seconds: float, name: str, work: Callable[..., None], *arguments: str, executor: str = _STEERING
    ) -> None:
        self._scheduler.add_job(
            self._guarded,
            "interval",
            (work, *arguments),
            seconds=seconds,
            id=name,
            next_run_time=datetime.now(UTC),
            executor=executor,
        )

    def _guarded(self, work: Callable[..., None], *arguments: str) -> None:
        """The edge of a job: what went wrong is said once, and the next turn tries again."""
        with self._ended:
            if self._stopping.is_set():
                return
            self._under_way += 1
        try:
            self._attempt(work, *arguments)
        finally:
            with self._ended:
                self._under_way -= 1
                self._ended.notify_all()

    def _attempt(self, work: Callable[..., None], *arguments: str) -> None:
        subject, wrong = ":".join((*arguments, work.__name__.strip("_"))), ""
        is_state = False
        try:
            work(*arguments)
        except OrchestratorError as error:
            if error.code == "not_leader" or self._stopping.is_set():
                return
            is_state = error.code == "state_database_unavailable"
            wrong = str(error)
        except Exception:
            LOG.exception("a job failed; it is tried again at its next turn: %(job)s", {"job": subject})
        # Not in the handler: there oslo.log would repeat the error behind our sentence.
        if is_state:
            self._say_of_state(wrong)
        else:
            self._say(subject, wrong, logging.WARNING)

    def _campaign(self) -> None:
        notify("WATCHDOG=1")  # also while the state database is away: a restart would not bring it back
        epoch: int | None = None
        evicted = ""
        try:
            self._daemons.renew()
            epoch = self._elections.campaign()
        except Never as error:
            evicted = str(error)
        finally:
            self._epoch = epoch
        if evicted:
            LOG.error("%(error)s", {"action": "daemon.end", "error": evicted})
            self._end()
            return
        with self._saying:
            if self._said_of_state:
                self._said_of_state.clear()
                self._said.pop(_LEADERSHIP, None)
        leads = f"this daemon leads, with epoch {epoch}" if epoch is not None else "another daemon leads"
        self._say(_LEADERSHIP, leads, logging.INFO)
        self._say("clock", self._daemons.clock or "", logging.WARNING)

    def _cycle(self, schema: str) -> None:
        epoch = self._epoch
        if epoch is None:
            return
        outcome = self._advancing.advance(schema, leader_epoch=epoch)
        for facts in outcome.databases:
            self._say(f"{schema}:{facts.name}", facts.error or "", logging.WARNING)
        blockers = _blockers(outcome)
        news = tuple((blocker.code, blocker.culprits) for blocker in blockers)  # the sentences count rows and seconds
        more = f"; and {len(blockers) - MOST_SENTENCES} more" if len(blockers) > MOST_SENTENCES else ""
        self._say(schema, "; ".join(each.sentence for each in blockers[:MOST_SENTENCES]) + more, logging.INFO, news)

    def _evict(self, schema: str) -> None:
        epoch = self._epoch
        if epoch is not None and self._evicting.run(schema, leader_epoch=epoch):
            self.nudge(schema)

    def _move_rows(self, schema: str, database: str) -> None:
        may_go_on = partial(self._may_go_on, schema, database)
        has_moved = self._data_migrations.run(
            schema, database, may_go_on=may_go_on, leads=self._leads, rest=self._stopping.wait
        )
        if has_moved:
            self.nudge(schema)
        self._say_of_throttles(schema, database)

    def _help_move_rows(self, schema: str, database: str, worker: str) -> None:
        """As one more worker, whose troubles are told apart by its name."""
        self._move_rows(schema, database)

    def _say_of_throttles(self, schema: str, database: str) -> None:
        """Log what keeps rows from being moved when that is news, and that nothing does any more."""
        subject, reasons = f"{schema}:{database}:throttles", self._data_migrations.throttled_by(schema, database)
        if reasons:
            sentence = f"rows wait: {'; '.join(reason.sentence for reason in reasons)}"
            self._say(subject, sentence, logging.INFO, tuple(reason.mark for reason in reasons))
        elif self._said.get(subject):
            self._say(subject, "rows do not wait any more", logging.INFO)

    def _sweep_leases(self) -> None:
        if self._epoch is not None:
            self._sweep.run()

    def _tend_own_tables(self) -> None:
        if self._epoch is not None:
            waits = self._contract_own_tables()
            news = tuple((wait.daemon.id, wait.is_expired) for wait in waits)  # sentences count seconds
            self._say("own tables", " ".join(f"{wait.sentence}. {wait.remedy}" for wait in waits), logging.INFO, news)

    def _may_go_on(self, schema: str, database: str) -> bool:
        """Asked between two batches. That rows go on is said now: it may take days."""
        self._say_of_throttles(schema, database)
        return not self._stopping.is_set()

    def _leads(self) -> bool:
        return self._epoch is not None

    def _say(self, subject: str, sentence: str, level: int, news: Hashable | None = None) -> None:
        """Log a sentence when it is news: when `news`, or else the sentence, differs from the last time."""
        mark = sentence if news is None else news
        with self._saying:
            is_news = sentence and self._said.get(subject) != mark
            self._said[subject] = mark
        if is_news:
            _log(level, subject, sentence)

    def _say_of_state(self, sentence: str) -> None:
        """Every job hears of it, one in these words and one in others: each is logged once, until one gets through."""
        with self._saying:
            is_news = sentence not in self._said_of_state
            self._said_of_state.add(sentence)
        if is_news:
            _log(logging.WARNING, _STATE, sentence)


def _log(level: int, subject: str, sentence: str) -> None:
    LOG.log(level, "%(subject)s: %(sentence)s", {"action": "say", "subject": subject, "sentence": sentence})


def _blockers(outcome: Outcome) -> tuple[Blocker, ...]:
    """What stands in the way, without rows that move: they get there by themselves."""
    decision = outcome.decision
    found = decision.blockers if isinstance(decision, Refusal | LiftFence) else ()
    return tuple(blocker for blocker in found if blocker.code not in _BY_ITSELF)
