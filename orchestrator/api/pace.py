"""Pace: what may be set while rows are moved, beside what is configured, and whose word it is; and the windows."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, Reason, View
from orchestrator.services.rows_control import OptionStatus
from orchestrator.services.windows import WindowStatus

MOST_OPTIONS = 100


class SettingView(View, frozen=True, kw_only=True):
    """Who set an option, why and when, by the state database's clock; `database` null: in the whole schema."""

    by: str
    reason: str | None
    at: float
    database: str | None


class OptionView(View, frozen=True, kw_only=True):
    """One option in one database. `in_force` is `configured` unless it was set; both null: it is configured no more."""

    database: str
    option: str
    configured: float | None
    in_force: float | None
    set: SettingView | None = None


class WindowView(View, frozen=True, kw_only=True):
    """The windows of one database, in which alone its rows are moved, by the state database's clock.

    `opens_at` and `closes_at` are those of the present opening, or else of the next; `sentence` has them for people.
    """

    database: str
    windows: tuple[str, ...]
    is_open: bool
    opens_at: float
    closes_at: float
    sentence: str


class PaceView(View, frozen=True, kw_only=True):
    """Every option that may be set in each database of a schema, and the databases that have windows."""

    schema: str
    options: tuple[OptionView, ...]
    windows: tuple[WindowView, ...] = ()


class PaceRequest(Question, frozen=True, kw_only=True):
    """Set `values`, and let the configuration be in force again for `defaults`: in this database, or in the schema.

    What is set for one database goes before. All of it is done, or none.
    """

    values: Annotated[dict[Name, float], Meta(max_length=MOST_OPTIONS)] = field(default_factory=dict)
    defaults: Annotated[tuple[Name, ...], Meta(max_length=MOST_OPTIONS)] = ()
    database: Name | None = None
    reason: Reason | None = None


def show(asked: Asked[Nothing, Nothing]) -> Answer:
    return _answer(asked)


def set_(asked: Asked[Nothing, PaceRequest]) -> Answer:
    body, control = asked.body, asked.services.rows_control
    control.set(
        asked.schema, body.database, body.values, body.defaults, actor=asked.who, reason=body.reason
    )  # fmt: skip
    return _answer(asked)


def _answer(asked: Asked[Any, Any]) -> Answer:
    options = asked.services.rows_control.options(asked.schema)
    windows = asked.services.data_migrations.windows(asked.schema)
    return Answer(
        PaceView(schema=asked.schema, options=tuple(map(_view, options)), windows=tuple(map(_window_view, windows)))
    )


def _window_view(status: WindowStatus) -> WindowView:
    return WindowView(
        database=status.database,
        windows=status.names,
        is_open=status.is_open,
        opens_at=status.opening.opens_at,
        closes_at=status.opening.closes_at,
        sentence=status.sentence,
    )


def _view(status: OptionStatus) -> OptionView:
    setting = status.setting
    return OptionView(
        database=status.database,
        option=status.name,
        configured=None if status.option is None else status.option.configured,
        in_force=status.in_force,
        set=None
        if setting is None
        else SettingView(by=setting.actor, reason=setting.reason, at=setting.set_at, database=setting.database or None),
    )
