"""The client of the orchestrator, used inside a service. Standard library only; nothing else of this project.

`Member` is the way in; docs/joining-a-fleet.md shows it in a few lines.
"""

from orchestrator.client.errors import (
    BadAnswer,
    ClientError,
    Conflict,
    Evicted,
    Forbidden,
    Invalid,
    LeaseLost,
    Never,
    NotAMember,
    NotDrained,
    NotFound,
    NotYet,
    Refused,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from orchestrator.client.member import Member
from orchestrator.client.readiness import ask_readiness, wait_until_ready
from orchestrator.client.standing import Behaviour, Standing
from orchestrator.client.transactions import Transaction
from orchestrator.client.transport import HttpTransport, Response, Transport

__all__ = [
    "BadAnswer",
    "Behaviour",
    "ClientError",
    "Conflict",
    "Evicted",
    "Forbidden",
    "HttpTransport",
    "Invalid",
    "LeaseLost",
    "Member",
    "Never",
    "NotAMember",
    "NotDrained",
    "NotFound",
    "NotYet",
    "Refused",
    "Response",
    "Standing",
    "Transaction",
    "Transport",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "ask_readiness",
    "wait_until_ready",
]
