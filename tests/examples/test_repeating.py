"""The example's habit of repeating what its database gave up, and nothing else."""

import pymysql
import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from orchestrator.demo.example import service_module


class Refusing:
    """Work that fails so often, and then returns."""

    def __init__(self, original: Exception, times: int) -> None:
        self.calls = 0
        self._error = OperationalError("UPDATE", {}, original)
        self._times = times

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return self.calls


class Serialization(Exception):
    sqlstate = "40001"


@pytest.mark.parametrize("original", [pymysql.err.OperationalError(1213, "Deadlock found"), Serialization()])
def test_transaction_that_was_given_up_is_repeated(original: Exception) -> None:
    assert service_module("service").repeated(Refusing(original, 2))() == 3


def test_every_other_error_is_raised_at_once() -> None:
    work = Refusing(pymysql.err.OperationalError(1054, "Unknown column"), 1)
    with pytest.raises(DBAPIError, match="Unknown column"):
        service_module("service").repeated(work)()
    assert work.calls == 1
