"""The daemon's jobs, on APScheduler: campaign, cycle, batches, sweep. The schedule lives in memory, truth in tables."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from oslo_log import log

from orchestrator.daemon.notify import notify
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.planner import LiftFence, Refusal
from orchestrator.services.advancing import Advancing, Outcome
from orchestrator.services.context import Context
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.leadership import Elections
from orchestrator.services.sweeping import Sweep

LOG = log.getLogger(__name__)
_MOST_THREADS = 64


class Jobs:
    """Starts and stops the recurring work of one daemon. Nothing but leadership is done while another one leads."""

    def __init__(
        self,
        context: Context,
        elections: Elections,
        advancing: Advancing,
        data_migrations: DataMigrations,
        sweep: Sweep,
        *,
        cycle_seconds: float,
        campaign_seconds: float,
        batch_pause_seconds: float,
    ) -> None:
        self._context = context
        self._elections = elections
        self._advancing = advancing
        self._data_migrations = data_migrations
        self._sweep = sweep
        self._cycle_seconds = cycle_seconds
        self._campaign_seconds = campaign_seconds
        self._batch_pause_seconds = batch_pause_seconds
        self._stopping = threading.Event()
        self._epoch: int | None = None
        self._said: dict[str, str] = {}
        databases = sum(len(managed.databases) for managed in context.schemas.values())
        threads = min(_MOST_THREADS, 4 + len(context.schemas) + databases)
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(threads)},
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
        self._campaign()
        self._every(self._campaign_seconds, "campaign", self._campaign)
        self._every(self._campaign_seconds, "sweep", self._sweep_leases)
        for name, managed in self._context.schemas.items():
            self._every(self._cycle_seconds, f"cycle:{name}", self._cycle, name)
            for database in managed.databases:
                self._every(self._cycle_seconds, f"batches:{name}:{database}", self._move_rows, name, database)
        self._scheduler.start()

    def stop(self) -> None:
        """Let running work end: a batch ends or rolls back, a step runs to its end. Then give up leadership."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        try:
            self._elections.resign()
        except OrchestratorError as error:
            LOG.warning("leadership was not given up: %(error)s", {"error": error})

    def nudge(self, schema: str) -> None:
        """Look at this schema now instead of at its next turn."""
        try:
            self._scheduler.modify_job(f"cycle:{schema}", next_run_time=datetime.now(UTC))
        except JobLookupError:
            return

    def _every(self, seconds: float, name: str, work: Callable[..., None], *arguments: str) -> None:
        self._scheduler.add_job(
            self._guarded, "interval", (work, *arguments), seconds=seconds, id=name, next_run_time=datetime.now(UTC)
        )

    def _guarded(self, work: Callable[..., None], *arguments: str) -> None:
        """The edge of a job: what went wrong is said once, and the next turn tries again."""
        if self._stopping.is_set():
            return
        try:
            work(*arguments)
        except OrchestratorError as error:
            self._say(f"{work.__name__}:{':'.join(arguments)}", str(error), logging.WARNING)
        except Exception:
            LOG.exception("a job failed; it is tried again at its next turn: %(job)s", {"job": work.__name__})

    def _campaign(self) -> None:
        before = self._epoch
        try:
            self._epoch = self._elections.campaign()
        except OrchestratorError as error:
            self._epoch = None
            self._say("campaign", str(error), logging.WARNING)
            return
        notify("WATCHDOG=1")
        if self._epoch != before:
            state = f"this daemon leads with epoch {self._epoch}" if self._epoch else "another daemon leads"
            LOG.info("leadership: %(state)s", {"state": state})

    def _cycle(self, schema: str) -> None:
        epoch = self._epoch
        if epoch is None:
            return
        outcome = self._advancing.advance(schema, leader_epoch=epoch)
        self._say(f"cycle:{schema}", _told(outcome), logging.INFO)

    def _move_rows(self, schema: str, database: str) -> None:
        if self._epoch is not None:
            self._data_migrations.run(schema, database, may_go_on=self._may_go_on)

    def _sweep_leases(self) -> None:
        if self._epoch is not None:
            self._sweep.run()

    def _may_go_on(self) -> bool:
        """Asked between two batches; takes the pause between them."""
        return self._epoch is not None and not self._stopping.wait(self._batch_pause_seconds)

    def _say(self, subject: str, sentence: str, level: int) -> None:
        """Log a sentence when it is news."""
        if sentence and self._said.get(subject) != sentence:
            LOG.log(level, "%(subject)s: %(sentence)s", {"subject": subject, "sentence": sentence})
        self._said[subject] = sentence


def _told(outcome: Outcome) -> str:
    decision = outcome.decision
    if isinstance(decision, Refusal | LiftFence) and decision.blockers:
        return "; ".join(blocker.sentence for blocker in decision.blockers)
    return ""
