"""Looks at databases: what hangs is left behind, and its answer is taken when it comes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from orchestrator.domain.view import DatabaseFacts
from orchestrator.services.looking import Looks
from orchestrator.services.looking import unanswered as late


class Databases:
    """`stuck` ones do not answer before they are let go."""

    def __init__(self, *stuck: str) -> None:
        self._stuck = {name: threading.Event() for name in stuck}
        self.looked: list[str] = []

    def look(self, name: str) -> DatabaseFacts:
        self.looked.append(name)
        if name in self._stuck:
            self._stuck[name].wait()
        return DatabaseFacts(name, incarnation=f"{name} {len(self.looked)}")

    def let_go(self, name: str) -> None:
        self._stuck[name].set()


@pytest.fixture
def databases() -> Iterator[Databases]:
    found = Databases("two", "four")
    yield found
    for name in ("two", "four"):
        found.let_go(name)


def unanswered(found: tuple[DatabaseFacts, ...]) -> list[str]:
    return [facts.name for facts in found if facts.error == "it has not answered within 2 s"]


def until_answered(
    looks: Looks[DatabaseFacts], names: tuple[str, ...], question: object, databases: Databases
) -> DatabaseFacts:
    while (facts := looks.at(names, question, databases.look)[0]).error is not None:
        pass
    return facts


def test_what_hangs_takes_nobodys_place(databases: Databases) -> None:
    looks = Looks(1, late, patience_seconds=2)
    found = looks.at(("one", "two", "three", "four", "five"), "question", databases.look)
    assert [facts.name for facts in found] == ["one", "two", "three", "four", "five"]
    assert unanswered(found) == ["two", "four"]
    again = looks.at(("one", "two", "three", "four", "five"), "question", databases.look)
    assert unanswered(again) == ["two", "four"]
    assert databases.looked.count("two") == 1, "nobody is asked again before they answered"
    assert databases.looked.count("one") == 2, "the others are asked again"


def test_late_answer_is_taken_if_it_is_still_what_is_asked(databases: Databases) -> None:
    looks = Looks(4, late, patience_seconds=0.05)
    looks.at(("two",), "question", databases.look)
    databases.let_go("two")
    assert until_answered(looks, ("two",), "question", databases).incarnation == "two 1"


def test_late_answer_to_an_old_question_is_forgotten(databases: Databases) -> None:
    looks = Looks(4, late, patience_seconds=2)
    looks.at(("two",), "old", databases.look)
    assert unanswered(looks.at(("two",), "new", databases.look)) == ["two"]
    databases.let_go("two")
    assert until_answered(looks, ("two",), "new", databases).incarnation == "two 2"


def test_what_a_look_raises_is_raised(databases: Databases) -> None:
    def look(name: str) -> DatabaseFacts:
        raise ValueError(name)

    with pytest.raises(ValueError, match="one"):
        Looks(4, late).at(("one",), "question", look)
