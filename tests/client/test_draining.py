"""The ack's promise, under any order of beginning, ending, publishing and renewing."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.client.membership import Membership
from orchestrator.client.standing import Behaviour, Grant, Standing
from orchestrator.client.transactions import Period

BEHAVIOURS = (Behaviour("old", "both"), Behaviour("new", "both"), Behaviour("new", "new"))


class Draining(RuleBasedStateMachine):
    """One instance and one daemon; the model remembers under which publication each open transaction began."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Membership("inventory-api", lambda: 0.5)
        self.now = 0.0
        self.published = 1
        self.phase = 0
        self.open: list[Period] = []
        self.acked = 1
        self.is_repeating = False
        self.sent: tuple[int | None, float] | None = None

    def grant(self) -> Grant:
        return Grant(60.0, 20.0, Standing(self.published, BEHAVIOURS[self.phase]), None)

    @initialize()
    def join(self) -> None:
        self.book.admit(self.grant(), epoch="e", sent_at=self.now)

    @rule(move=st.sampled_from((-1, 1)))
    def publish(self, move: int) -> None:
        """As the daemon does: one rung at a time, and only after the ack of what is published."""
        if self.acked == self.published:
            self.phase = min(max(self.phase + move, 0), 2)
            self.published += 1

    @rule()
    def begin(self) -> None:
        period = self.book.begin(None, self.now)
        assert self.book.period is period
        self.open.append(period)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def begin_inside(self, data: st.DataObject) -> None:
        outer = data.draw(st.sampled_from(self.open))
        assert self.book.begin(outer, self.now) is outer
        self.open.append(outer)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.book.end(self.open.pop(data.draw(st.integers(0, len(self.open) - 1))), self.now)

    @precondition(lambda self: self.sent is None)
    @rule()
    def send(self) -> None:
        ack = self.book.ack()
        self.sent = (ack, self.now)
        if ack is not None:
            assert all(period.standing.publication >= ack for period in self.open)

    @precondition(lambda self: self.sent is not None)
    @rule(is_lost=st.booleans())
    def answer(self, is_lost: bool) -> None:
        assert self.sent is not None
        (ack, sent_at), self.sent = self.sent, None
        if ack is not None:
            assert all(period.standing.publication >= ack for period in self.open), "late, the ack still holds"
            self.acked = max(self.acked, ack)
        self.is_repeating = is_lost
        if is_lost:
            self.book.missed(self.now)
        else:
            self.book.renewed(self.grant(), sent_at=sent_at, ack=ack, now=self.now)

    @invariant()
    def neighbours_only(self) -> None:
        """What is open together, and what would begin now, is one behaviour apart at most."""
        if self.book.period is not None:
            behaviours = [period.standing.behaviour for period in (*self.open, self.book.period)]
            rungs = [BEHAVIOURS.index(behaviour) for behaviour in behaviours]
            assert max(rungs) - min(rungs) <= 1

    @invariant()
    def drained_means_acked_or_due(self) -> None:
        """Nothing waits for the regular renewal: what can be acked is acked, or its renewal was made due."""
        book = self.book
        if book.lease is not None and self.sent is None and not self.is_repeating:
            assert book.ack() in (None, book._acked) or book.lease.renew_at <= self.now


TestDraining = Draining.TestCase
