"""Schemas: what is managed, at which release and phase; and giving a schema its first release."""

from __future__ import annotations

from orchestrator.api.exchange import Answer, ApiServices, Asked, Name, Nothing, Question, Reason, View
from orchestrator.api.upgrades import UpgradeView, view_of
from orchestrator.services.status import SchemaStatus


class SchemaView(View, frozen=True, kw_only=True):
    """One schema. `release` is null until it has its first; `upgrade` is its newest one, status none before that."""

    schema: str
    release: str | None
    releases: tuple[str, ...]
    databases: tuple[str, ...]
    upgrade: UpgradeView


class SchemaList(View, frozen=True, kw_only=True):
    """All schemas, in the order of the configuration."""

    schemas: tuple[SchemaView, ...]


class InitRequest(Question, frozen=True, kw_only=True):
    """The release that empty databases get, or that existing ones are at."""

    release: Name


class TakeOverRequest(Question, frozen=True, kw_only=True):
    """Why the state is to take over what the databases know."""

    reason: Reason


class InitView(View, frozen=True, kw_only=True):
    """What was done, one sentence for each database."""

    schema: str
    release: str
    done: tuple[str, ...]


def list_(asked: Asked[Nothing, Nothing]) -> Answer:
    return Answer(SchemaList(schemas=views(asked.services)))


def show(asked: Asked[Nothing, Nothing]) -> Answer:
    return Answer(_view(asked.services, asked.services.board.schema(asked.schema)))


def initialise(asked: Asked[Nothing, InitRequest]) -> Answer:
    """Install the release in empty databases, adopt those that are at it. Repeatable."""
    release = asked.body.release
    done = asked.services.upgrades.initialise(asked.schema, release, actor=asked.who)
    asked.services.nudge(asked.schema)
    return Answer(InitView(schema=asked.schema, release=release, done=done))


def take_over(asked: Asked[Nothing, TakeOverRequest]) -> Answer:
    """Let the state, at rest, recall an upgrade that it has forgotten, from the databases."""
    asked.services.upgrades.take_over(asked.schema, actor=asked.who, reason=asked.body.reason)
    asked.services.nudge(asked.schema)
    return Answer(_view(asked.services, asked.services.board.schema(asked.schema)))


def views(services: ApiServices) -> tuple[SchemaView, ...]:
    """All schemas as they are shown."""
    return tuple(_view(services, schema) for schema in services.board.schemas())


def _view(services: ApiServices, schema: SchemaStatus) -> SchemaView:
    return SchemaView(
        schema=schema.name,
        release=schema.release,
        releases=schema.releases,
        databases=schema.databases,
        upgrade=view_of(services, schema),
    )
