"""Hooks: what a service asked to be called when its lease is lost, its standing changes, or it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable

from orchestrator.client.errors import LeaseLost
from orchestrator.client.membership import Heard
from orchestrator.client.standing import Standing

log = logging.getLogger("orchestrator.client")


class Hooks:
    """Called in the order in which they were given, by whichever thread found out. One that fails stops no other."""

    def __init__(self) -> None:
        self.on_lost: list[Callable[[LeaseLost], object]] = []
        self.on_change: list[Callable[[Standing], object]] = []
        self.on_leave: list[Callable[[], object]] = []

    def lost(self, loss: LeaseLost) -> None:
        """The lease is lost."""
        for hook in self.on_lost:
            _call(hook, loss)

    def heard(self, heard: Heard) -> None:
        """A renewal was granted, which may have changed something."""
        if heard.is_switched or heard.is_revived:
            for hook in self.on_change:
                _call(hook, heard.standing)

    def leaving(self) -> None:
        """The last transaction has ended."""
        for hook in self.on_leave:
            _call(hook)


def _call(hook: Callable[..., object], *arguments: object) -> None:
    try:
        hook(*arguments)
    except Exception:  # somebody else's code: it must not stop the renewals
        log.exception("a hook failed", extra={"action": "hook"})
