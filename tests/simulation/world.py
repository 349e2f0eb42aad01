"""A small world: the shipped voters and operations, and all messages between them in one's own hands.

Nothing moves by itself. Whoever plays with the world starts operations, delivers parcels one by one
(`deliver`), loses or doubles them, wakes, stops. Parcels are wire bytes and voters are the shipped
booth on in-memory ledgers; a `Watch` sees every acceptance and raises as soon as S1 or S2 is broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from polity_cli import booth
from polity_cli.core import candidacy, tally
from polity_cli.core import messages as m
from polity_cli.core.candidacy import Candidacy, Move, Order, Outcome, Pace, Phase, Purpose
from polity_cli.core.electorate import Enrolled, founding_record
from polity_cli.core.quorum import QuorumPercentage, QuorumRule, SimpleMajority
from polity_cli.core.tenure import ELECTORATE
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger, MemoryTransaction
from tests.simulation.judge import Entry, Violation, Watch, judge

ROLE = "leader"
POLITY = b"a polity"
MAJORITY = QuorumPercentage(0.5, 1)


class Shape(NamedTuple):
    """How many voters, and how many votes decide: in a classic round, in the fast round."""

    n: int
    rule: QuorumRule
    q: int
    f: int


SHAPES = {
    "3": Shape(3, MAJORITY, 2, 3),
    "3all": Shape(3, SimpleMajority, 3, 3),
    "4": Shape(4, MAJORITY, 3, 3),
    "5": Shape(5, MAJORITY, 3, 4),
}


class Crash(Exception):
    """The voter's process ended in the middle of a transaction."""


class FragileLedger(MemoryLedger):
    """A ledger whose next transaction can be made to crash just before it is durable."""

    crashes = False

    def transaction(self, role: str) -> MemoryTransaction:
        return _Crashing(self, role) if self.crashes else MemoryTransaction(self, role)


class _Crashing(MemoryTransaction):
    def save(self, register: m.Register) -> None:
        super().save(register)
        raise Crash


class Kind(Enum):
    QUERY = "query"
    REPLY = "reply"
    NEWS = "news"


class Parcel(NamedTuple):
    """Bytes under way between an operation and a voter, or an announcement on its way to a voter."""

    kind: Kind
    op: Operation
    voter: int
    data: bytes


@dataclass(slots=True, eq=False)
class Operation:
    """An election, recall or query of node `home`; `sent` and `news` are the bytes of what it said."""

    name: str
    order: Order
    home: int
    started: int
    state: Candidacy
    sent: list[bytes] = field(default_factory=list)
    news: bytes = b""
    ended: int | None = None
    stopped: bool = False

    @property
    def outcome(self) -> Outcome | None:
        return self.state.outcome

    @property
    def is_active(self) -> bool:
        return self.ended is None and not self.stopped


@dataclass(slots=True)
class Chance:
    """The `Draws` of the operations."""

    draw_id: Callable[[], bytes]
    draw_jitter: Callable[[], float] = lambda: 0.5
    draw_floor: Callable[[], int] = lambda: 0

    def id(self) -> bytes:
        return self.draw_id()

    def jitter(self) -> float:
        return self.draw_jitter()

    def round_floor(self) -> int:
        return self.draw_floor()


class World:
    """Voters 0 .. n-1 on nodes n0 .. n(n-1), with one role. `flight` are the parcels under way.

    `transcript`, if it is a list, becomes the conversation, for people.
    """

    def __init__(self, shape: Shape, draws: Chance) -> None:
        self.shape = shape
        self.draws = draws
        self.flight: list[Parcel] = []
        self.ops: list[Operation] = []
        self.clock = 0
        self.transcript: list[str] | None = None
        self._names: dict[str, str] = {}
        self.watch = Watch(shape.q, shape.f)
        enrolled = [Enrolled(b"voter%03d" % i, f"n{i}") for i in range(shape.n)]
        self.voters = [e.voter for e in enrolled]
        self.electorate = founding_record(POLITY, enrolled, shape.rule)
        self.ledgers = [FragileLedger(voter) for voter in self.voters]
        for ledger in self.ledgers:
            with ledger.transaction(ELECTORATE) as turn:
                turn.enter(turn.me._replace(polity=POLITY, epoch=self.electorate.epoch, digest=b"d" * 16))

    def register(self, voter: int) -> m.Register:
        return self.ledgers[voter].register(ROLE)

    def start(
        self,
        purpose: Purpose,
        home: int,
        *,
        holder: str | None = None,
        term: int | None = None,
        local: m.Register | None = None,
        alive: Collection[int] | None = None,
        at_least: int = 0,
        name: str | None = None,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> Operation:
        """Begin an operation on node `home`; `local` is its hint, its own voter's register if not given."""
        self.clock += 1
        name = name or f"{purpose.value[0].upper()}{len(self.ops)}"
        order = Order(purpose, ROLE, f"n{home}", self.draws.id(), holder, term, at_least)
        if local is None and home < self.shape.n:
            local = self.register(home)
        begun = candidacy.begin(
            order,
            self.electorate,
            local=local,
            alive=None if alive is None else {self.voters[i] for i in alive},
            now_s=self.clock,
            draws=self.draws,
            pace=pace,
        )
        op = Operation(name, order, home, self.clock, begun.candidacy)
        self.ops.append(op)
        guards = "".join(f", if the {k} is {v}" for k, v in (("holder", holder), ("term", term)) if v)
        self.say(lambda: f"{name}: {order.node} wants to {_WANTS[purpose]}{guards}")
        self._move(op, begun)
        return op

    def deliver(self, parcel: Parcel, *, crash: bool = False) -> None:
        """Bring a parcel to where it goes; `crash` ends the voter's process before it has saved anything."""
        self.clock += 1
        op, voter = parcel.op, parcel.voter
        if parcel.kind is Kind.REPLY:
            reply = wire.decode_reply(parcel.data)
            if op.is_active and isinstance(reply, m.State):
                self._move(op, candidacy.hear(op.state, reply, self.clock, self.draws))
            return
        answer = self._ask(voter, parcel.data, crash)
        if answer is not None:
            self.say(lambda: f"    n{voter}: {_in_words(parcel.data, answer)}")
            self.flight.append(Parcel(Kind.REPLY, op, voter, answer))

    def _ask(self, voter: int, data: bytes, crash: bool) -> bytes | None:
        ledger = self.ledgers[voter]
        before = ledger.register(ROLE)
        ledger.crashes = crash
        try:
            answer = booth.answer(ledger, data)
        except Crash:
            return None
        finally:
            ledger.crashes = False
        after = ledger.register(ROLE)
        if (after.accepted, after.tenure) != (before.accepted, before.tenure):
            message = wire.decode_message(data)
            if isinstance(message, m.Stand) and after.accepted.is_fast:
                self.watch.accepted(voter, message.base, message.vacancy)
            self.watch.accepted(voter, after.accepted, after.tenure)
        return answer

    def wake(self, op: Operation, alive: Collection[int] | None = None) -> None:
        """Tell an operation that its wait is over."""
        self.clock += 1
        if op.is_active:
            living = None if alive is None else {self.voters[i] for i in alive}
            self.say(lambda: f"{op.name}: has waited long enough")
            self._move(op, candidacy.wake(op.state, self.clock, self.draws, living))

    def give_up(self, op: Operation) -> None:
        """No more time: the operation ends and says what it knows."""
        self.clock += 1
        if op.is_active:
            self.say(lambda: f"{op.name}: has no more time")
            self._move(op, candidacy.give_up(op.state))

    def stop(self, op: Operation) -> None:
        """The operation's process dies; what it has sent is still under way."""
        self.clock += 1
        op.stopped = True
        self.say(lambda: f"{op.name}: dies")

    def _move(self, op: Operation, move: Move) -> None:
        if move.candidacy.phase is Phase.YIELD and op.state.phase is not Phase.YIELD:
            self.say(lambda: f"{op.name}: yields")
        op.state = move.candidacy
        message = move.send
        if message is not None:
            self.say(lambda: f"{op.name}: {m.describe(message)}")
            data = wire.encode(message)
            op.sent.append(data)
            self.flight += [Parcel(Kind.QUERY, op, voter, data) for voter in range(self.shape.n)]
        outcome = move.candidacy.outcome
        if outcome is None:
            return
        op.ended = self.clock
        self.say(lambda: f"{op.name}: {tell(outcome)}")
        if outcome.chosen is not None:
            ballot, tenure = outcome.chosen
            if not self.watch.has_chosen(ballot, tenure):
                raise Violation(f"S3: {op.name} calls chosen what is not: {tenure} at {ballot}")
            op.news = wire.encode(m.Announce(POLITY, self.electorate.epoch, ROLE, ballot, tenure))
            self.flight += [Parcel(Kind.NEWS, op, voter, op.news) for voter in range(self.shape.n)]

    def history(self) -> list[Entry]:
        return [Entry(op.name, op.state.order, op.started, op.ended, op.outcome) for op in self.ops]

    def judge(self) -> None:
        """Raise Violation unless everything that happened so far keeps S1 to S3."""
        judge(self.history(), self.watch)

    def say(self, line: Callable[[], str]) -> None:
        """Add a line to the transcript, with proposers by the names of their operations: 2.E0, then 4.E0b."""
        if self.transcript is not None:
            self.transcript.append(re.sub(r"\.([0-9a-f]{6})\b", self._name, line()))

    def _name(self, found: re.Match[str]) -> str:
        proposer = found[1]
        if proposer not in self._names:
            op = next((op for op in self.ops if op.state.attempt.hex()[:6] == proposer), None)
            if op is None:
                return found[0]
            known = sum(name.rstrip("bcdefgh") == op.name for name in self._names.values())
            self._names[proposer] = op.name + " bcdefgh"[known % 8].strip()
        return f".{self._names[proposer]}"


_WANTS = {Purpose.ELECT: "be elected", Purpose.RECALL: "recall", Purpose.QUERY: "know"}


def _in_words(query: bytes, answer: bytes) -> str:
    message, reply = wire.decode_message(query), wire.decode_reply(answer)
    assert isinstance(message, m.Read | m.Prepare | m.Accept | m.Stand)
    word = tally.vote_of(message, reply) if isinstance(reply, m.State) else ""
    return f"{word + ': ' if word else ''}{m.describe(reply)}"


def tell(outcome: Outcome) -> str:
    """An outcome in words."""
    trips = f"{outcome.round_trips} round trip{'s' if outcome.round_trips != 1 else ''}"
    tenure = "" if outcome.tenure is None else f", {outcome.tenure}"
    return f"{outcome.verdict.value.upper().replace('_', ' ')}{tenure}, after {trips}"
