"""What a daemon tells an instance: which shapes to read and write, in which phase, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from orchestrator.client.errors import BadAnswer

Reads = Literal["old", "new"]
Writes = Literal["old", "both", "new"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Which shape of the data a transaction reads and which ones it writes.

    Seen from the change that the instance's own release brings. At rest, and in a release that is being left, that
    change is long complete: it reads new and writes new.
    """

    reads: Reads
    writes: Writes

    @property
    def reads_new(self) -> bool:
        """The new shape is complete and current: read it. Otherwise read the old one."""
        return self.reads == "new"

    @property
    def writes_old(self) -> bool:
        """Somebody alive may still read the old shape: write it."""
        return self.writes in ("old", "both")

    @property
    def writes_new(self) -> bool:
        """Somebody alive may read the new shape, or it is being filled: write it."""
        return self.writes in ("both", "new")

    def __str__(self) -> str:
        return f"reads {self.reads}, writes {self.writes}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is published for an instance.

    `publication` grows within a schema, also when an upgrade ends; an ack names it. `upgrade` is None at rest, between
    upgrades. `signature` is by what daemons know again that one of them told this, and nothing else to anybody; None at
    rest, where a managed database told it, and from a daemon of a version that signs nothing.
    """

    publication: int
    behaviour: Behaviour
    upgrade: int | None = None
    phase: str | None = None
    signature: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """One answer to a join or a renewal. Only a join carries the `epoch`."""

    ttl_seconds: float
    renew_seconds: float
    standing: Standing
    epoch: str | None

    @classmethod
    def read(cls, answer: object) -> Grant:
        """The grant in a daemon's answer. Raises `BadAnswer` and names the field that is missing or wrong."""
        body = _mapping(answer, "the answer")
        standing = _mapping(body.get("standing"), "standing")
        phase = standing.get("phase")
        signature = standing.get("signature")
        epoch = body.get("epoch")
        return cls(
            ttl_seconds=_positive(body, "ttl_seconds"),
            renew_seconds=_positive(body, "renew_seconds"),
            standing=Standing(
                publication=_whole(standing, "publication"),
                behaviour=Behaviour(
                    cast(Reads, _one_of(standing, "reads", ("old", "new"))),
                    cast(Writes, _one_of(standing, "writes", ("old", "both", "new"))),
                ),
                upgrade=None if standing.get("upgrade") is None else _whole(standing, "upgrade"),
                phase=None if phase is None else str(phase),
                signature=None if signature is None else str(signature),
            ),
            epoch=None if epoch is None else str(epoch),
        )


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _malformed(name, value)
    return value


def _positive(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise _malformed(name, value)
    return float(value)


def _whole(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _malformed(name, value)
    return value


def _one_of(body: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = body.get(name)
    if value not in known:
        raise _malformed(name, value)
    return str(value)


def _malformed(name: str, value: object) -> BadAnswer:
    return BadAnswer(
        "answer_malformed",
        f"the daemon's answer has {name} = {value!r}",
        remedy="Check that the address is that of an orchestrator, of this version or a newer one.",
    )
