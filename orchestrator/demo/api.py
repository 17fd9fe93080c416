"""The demo's side of the orchestrator's HTTP API: what deployment tooling would do, with nothing but JSON over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.demo.errors import DemoFailed

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `body` is its JSON object, empty when there is none."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """The server did, or knows, what was asked."""
        return 200 <= self.status < 300

    @property
    def problem(self) -> str:
        """What a refusal says, in one line: the detail, and what to do next."""
        parts = (
            self.body.get("detail") or self.body.get("sentence") or self.body.get("title"),
            self.body.get("remedy"),
        )
        return _sentences(*(str(part) for part in parts if part)) or f"HTTP status {self.status}"


@dataclass(frozen=True, slots=True)
class Blocker:
    """One reason why the next phase is not entered."""

    code: str
    sentence: str
    culprits: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        return _sentences(self.sentence, self.remedy)


@dataclass(frozen=True, slots=True)
class RowsMoved:
    """How far one data migration is."""

    name: str
    state: str
    rows_done: int
    rows_total: int
    rows_verified: int


@dataclass(frozen=True, slots=True)
class UpgradeView:
    """An upgrade as the API shows it."""

    status: str
    phase: str
    sentence: str
    blockers: tuple[Blocker, ...]
    data_migrations: tuple[RowsMoved, ...]


class OrchestratorApi:
    """The calls that the demo makes, for one schema."""

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self._schema = f"/v1/schemas/{schema}"

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """One request. Raises `DemoFailed` when nobody answers; a refusal is an answer."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                return Answer(response.status, _json_object(response.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _json_object(error.read()))
        except OSError as error:
            raise DemoFailed(f"the orchestrator does not answer {method} {path}: {error}") from error

    def is_up(self) -> bool:
        """The daemon answers."""
        try:
            return self.call("GET", "/v1/schemas").ok
        except DemoFailed:
            return False

    def init(self, release: str) -> Answer:
        """Make the tables of that release in an empty database."""
        return self.call("POST", f"{self._schema}/init", {"release": release})

    def begin_upgrade(self, release: str) -> Answer:
        """Begin the upgrade to that release."""
        return self.call("POST", f"{self._schema}/upgrade", {"release": release})

    def upgrade(self) -> UpgradeView:
        """The upgrade as it is now."""
        answer = self.call("GET", f"{self._schema}/upgrade")
        if not answer.ok:
            raise DemoFailed(f"the upgrade cannot be read: {answer.problem}")
        return UpgradeView(
            status=answer.body["status"],
            phase=answer.body["phase"],
            sentence=answer.body["sentence"],
            blockers=_blockers(answer.body),
            data_migrations=tuple(
                RowsMoved(m["name"], m["state"], m["rows_done"], m["rows_total"] or 0, m["rows_verified"])
                for m in answer.body.get("data_migrations", ())
            ),
        )

    def plan_blockers(self) -> tuple[Blocker, ...]:
        """What a dry run of the next move says: the reasons why it would be refused, none when it would be made."""
        answer = self.call("GET", f"{self._schema}/plan")
        if not answer.ok:
            raise DemoFailed(f"the plan cannot be read: {answer.problem}")
        return _blockers(answer.body)

    def gate_is_open(self, gate: str) -> bool:
        """What deployment tooling asks, e.g. `deploy:inventory-api:2`."""
        answer = self.call("GET", f"{self._schema}/gates/{gate}")
        if not answer.ok:
            raise DemoFailed(f"the gate {gate} cannot be read: {answer.problem}")
        return bool(answer.body["open"])

    def check_gate(self, gate: str) -> Answer:
        """The same as a status code: 2xx open, 409 closed."""
        return self.call("POST", f"{self._schema}/gates/{gate}/check")

    def cancel(self, reason: str) -> Answer:
        """Go back to base and end there."""
        return self.call("POST", f"{self._schema}/upgrade/cancel", {"reason": reason})

    def approve(self, phase: str, reason: str) -> Answer:
        """Approve that the upgrade enters that phase."""
        return self.call("POST", f"{self._schema}/upgrade/approve", {"phase": phase, "reason": reason})


def _sentences(*parts: str) -> str:
    """The parts in one line, each ending as a sentence does."""
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


def _blockers(body: Mapping[str, Any]) -> tuple[Blocker, ...]:
    return tuple(
        Blocker(b["code"], b["sentence"], tuple(b.get("culprits", ())), b.get("remedy", ""))
        for b in body.get("blockers", ())
    )


def _json_object(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content) if content else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {"items": found}
