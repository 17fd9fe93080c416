"""What a revision is given for the result of a statement that is done already, and is not sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self


class PassedOver:
    """Nothing: counts, numbers and rows were given back the first time only. Whoever looks is refused.

    It may be closed, and entered, as what it stands for may be.
    """

    def __init__(self, refuse: Callable[[str], Exception]) -> None:
        self._refuse = refuse

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def __iter__(self) -> NoReturn:
        raise self._refuse("its rows")

    def __getattr__(self, name: str) -> NoReturn:
        raise self._refuse(name)


def give_nothing_back(execution: Any, refuse: Callable[[str], Exception]) -> None:
    """Let the statement that SQLAlchemy is about to execute give back nothing. `execution` is its execution context."""
    real = execution._setup_result_proxy

    def nothing() -> PassedOver:
        real().close()
        return PassedOver(refuse)

    execution._setup_result_proxy = nothing
