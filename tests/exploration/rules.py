"""The shipped rules as functions of one small thing: a voter's turn, and an operation's turn.

Nothing here decides anything. A voter's turn is `booth.answer` on the ledger's twin, wire bytes included; an
operation's turns are what `candidacy.begin`, `hear`, `wake` and `give_up` make of answers. The modules are
asked by name, at every call, so that a bug planted in one of them is what gets explored.

**What is forgotten.** Counters of round trips and asks, times, and who heard what in phases that are over
decide nothing (`Pace` has asks=1, looks=1, so that waits may end at any time). If `trust.answers`, `tidy`
also drops what the phase never reads again and `useful` reduces an answer to what the phase reads in it; if
`trust.messages`, `is_spent` tells a message that can never change a register again. These know the rules, so
where bugs are planted they must not be trusted; a test compares explorations with and without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from polity_cli import booth
from polity_cli.core import candidacy, voter
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Enrolled, founding_record
from polity_cli.core.messages import Announce, Register, State
from polity_cli.core.operation import Candidacy, Move, Order, Outcome, Pace, Phase
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import ELECTORATE, VACANT
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger
from tests.exploration.cases import Case, Slot
from tests.simulation.world import MAJORITY, POLITY, ROLE

PACE = Pace(asks=1, looks=1)
NOBODY = b"somebody"
"""The voter's id in answers whose voter does not matter."""


def claim_of(op: int) -> bytes:
    return bytes((0xC0, op)) + bytes(6)


def owner(drawn: bytes) -> int | None:
    """The index of the operation that drew this id; None for the empty claim of a new role."""
    return drawn[1] if drawn else None


Heard = tuple[tuple[int, State], ...]
"""Answers, each with the number of its voter, in the order of hearing them."""


class Trust(NamedTuple):
    """What a reduction may rest on: that operations read answers, and voters messages, as shipped."""

    answers: bool = True
    messages: bool = True
    looks: bool = True


TRUSTING = Trust()


class Turn(NamedTuple):
    """What an operation may do next: `candidacy` is None when it ends, with `outcome`."""

    candidacy: Candidacy | None
    sent: m.Message | None
    outcome: Outcome | None
    how: Heard
    then: str


class Draws:
    """Ids by whose they are, and the round of a ballot: its rank in the case's order."""

    def __init__(self, drawn: bytes, rank: int = 0) -> None:
        self.drawn, self.rank = drawn, rank

    def id(self) -> bytes:
        return self.drawn

    def jitter(self) -> float:
        return 0.5

    def round_floor(self) -> int:
        return self.rank


class _Twin(MemoryLedger):
    """A ledger that can be made to hold a register."""

    def hold(self, register: Register) -> None:
        self._registers[ROLE] = register


def _plain(reply: m.Reply | None) -> State | None:
    """An answer without its ledger's serial: no ledger is set back here, and no rule reads it."""
    return reply._replace(serial=0) if isinstance(reply, State) else None


class Rules:
    """The rules for the voters and operations of a case, with ballot ids in this order."""

    def __init__(self, case: Case, order: tuple[Slot, ...], trust: Trust) -> None:
        n = case.n
        self.ops, self.trust = case.all_ops, trust
        enrolled = [Enrolled(b"voter%03d" % i, f"n{i}") for i in range(n)]
        self.voters = [e.voter for e in enrolled]
        self.electorate = founding_record(POLITY, enrolled, MAJORITY)
        self._rank = {slot: rank for rank, slot in enumerate(order, start=1)}
        self._ledger = _Twin(NOBODY)
        with self._ledger.transaction(ELECTORATE) as turn:
            turn.enter(turn.me._replace(polity=POLITY, epoch=self.electorate.epoch, digest=b"d" * 16))

    def order_of(self, op: int) -> Order:
        spec = self.ops[op]
        return Order(spec.purpose, ROLE, spec.node, claim_of(op), spec.holder, spec.term, slot=spec.slot)

    # A voter.

    def answer(self, register: Register, message: m.Message) -> tuple[Register, State | None]:
        """The register after a message, and the answer; a refusal is no answer."""
        self._ledger.hold(register)
        data = booth.answer(self._ledger, wire.encode(message))
        return self._ledger.register(ROLE), _plain(None if data is None else wire.decode_reply(data))

    def handle(self, register: Register, message: m.RoleQuery) -> tuple[Register, State | None]:
        """The same without the bytes, for runs that are too many to encode."""
        self._ledger.hold(register)
        reply = _plain(booth.handle(self._ledger, message))
        return self._ledger.register(ROLE), reply

    def is_spent(self, register: Register, message: m.Message) -> bool:
        """True if this message can never again change this register, nor what becomes of it."""
        if not self.trust.messages:
            return False
        match message:
            case m.Prepare(ballot=ballot) | m.Stand(ballot=ballot):
                return register.promised >= ballot
            case m.Accept(ballot=ballot):
                return register.promised > ballot or register.accepted == ballot
            case Announce(ballot=ballot):
                known = register.confirmed_ballot >= ballot
                return known and (register.promised > ballot or register.accepted == ballot)
        return True

    # An operation.

    def begin(self, op: int, hint: Register | None) -> list[Turn]:
        """The first turns of an operation with this register as its hint; it may have none in this order."""

        def move(draws: Draws) -> Move:
            return candidacy.begin(
                self.order_of(op), self.electorate, local=hint, alive=None, now_s=0.0, draws=draws, pace=PACE
            )

        return self._said(op, self._draw(op, 0, move), (), "begins")

    def first_look(self, op: int) -> Candidacy:
        """An operation that knows nothing and looks."""

        def move(draws: Draws) -> Move:
            return candidacy.begin(
                self.order_of(op), self.electorate, local=None, alive=(), now_s=0.0, draws=draws, pace=PACE
            )

        return self._draw(op, 0, move).candidacy._replace(alive=frozenset(self.voters))

    def yielded(self, op: int, c: Candidacy) -> Candidacy:
        """An operation that yields, though it heard nothing, and looks."""
        yields = self._draw(op, c.attempts, lambda d: candidacy.wake(c, 0.0, d)).candidacy
        look = self._draw(op, c.attempts, lambda d: candidacy.wake(yields, 0.0, d)).candidacy
        assert look.phase is Phase.LOOK
        return self.tidy(op, look)

    def begin_after_look(self, op: int, base: Chosen | None) -> list[Turn]:
        """The first turns of an operation that looked, and found this vacancy settled, or nothing."""
        after = self._looked(op, self.first_look(op), base)
        found = after.candidacy.phase is Phase.PREPARE if base is None else after.candidacy.base == base
        return self._said(op, after, (), "begins, and has looked") if found else []

    def told(self, op: int, c: Candidacy, chosen: Chosen) -> list[Turn]:
        """How an operation ends whose look finds this settled; not at all if it then goes on."""
        move = self._looked(op, c, chosen)
        return self._said(op, move, (), "finds settled what is chosen") if move.candidacy.outcome else []

    def _looked(self, op: int, c: Candidacy, base: Chosen | None) -> Move:
        """What an operation says once all voters show this accepted, or no two of them the same."""
        move = Move(c)
        for i, one in enumerate(self.voters):
            ballot, tenure = base or (Ballot(0, bytes((i + 1,))), VACANT)
            head = (c.attempt, one, POLITY, self.electorate.epoch)
            move = self._heard(op, move.candidacy, State(*head, ZERO, ballot, tenure, ZERO, VACANT))
            if move.candidacy.phase is not Phase.LOOK:
                return move
        unsettled = move.candidacy
        return self._draw(op, c.attempts, lambda d: candidacy.wake(unsettled, 0.0, d))

    def _heard(self, op: int, c: Candidacy, state: State) -> Move:
        return self._draw(op, c.attempts, lambda d: candidacy.hear(c, state, 0.0, d))

    def _draw(self, op: int, attempts: int, act: Callable[[Draws], Move]) -> Move:
        """Do it with the id of a look, and once more with that of a ballot if it was drawn for one."""
        look = bytes((0xF0, op, attempts)) + bytes(5)
        move = act(Draws(look))
        if move.candidacy.ballot.proposer == look:
            rank = self.rank(op, attempts)
            move = act(Draws(bytes((rank, op, attempts)) + bytes(5), rank))
        return move

    def rank(self, op: int, attempts: int) -> int:
        """The round of an operation's next ballot."""
        return self._rank.get((op, attempts), 0xBF)

    def _said(self, op: int, move: Move, how: Heard, then: str) -> list[Turn]:
        c = move.candidacy
        if c.phase is Phase.YIELD:
            yielded = c
            move = self._draw(op, c.attempts, lambda d: candidacy.wake(yielded, 0.0, d))
            then = f"{then}, yields".removeprefix(", ")
            if self.trust.looks and self.goes_on(op, c):
                further = self._looked(op, move.candidacy, None)
                return [
                    *self._said(op, further, how, f"{then}, has looked"),
                    *self._said(op, move, how, then),
                ]
            c = move.candidacy
        if c.attempts > self.ops[op].ballots:
            return []
        if c.outcome is not None:
            news = None
            if c.outcome.chosen is not None:
                news = Announce(POLITY, self.electorate.epoch, ROLE, *c.outcome.chosen)
            told = c.outcome._replace(
                yes=frozenset(), no=frozenset(), required=0, population=0, round_trips=0, silent=()
            )
            return [Turn(None, news, told, how, then)]
        return [Turn(self.tidy(op, c), move.send, None, how, then)] if self._fits(op, c) else []

    def _fits(self, op: int, c: Candidacy) -> bool:
        """True if its ballot is not above its place in the case's order, and the next one need not be."""
        if c.attempts and c.ballot.round > self.rank(op, c.attempts - 1):
            return False
        return not self.goes_on(op, c) or c.highest_round < self.rank(op, c.attempts)

    def tidy(self, op: int, c: Candidacy) -> Candidacy:
        """The candidacy without what decides nothing any more."""
        c = c._replace(states=(), asks=1, round_trips=0, wake_at_s=0.0, unsettled=0)
        if not self.trust.answers:
            return c
        c = c._replace(highest_round=0)
        if c.phase is not Phase.STAND:
            c = c._replace(base=Chosen(ZERO, VACANT))
        if c.phase is Phase.LOOK:
            c = c._replace(ballot=ZERO, stood=None, proposal=None, verdict=None)
        return c

    def goes_on(self, op: int, c: Candidacy) -> bool:
        """True if there may be another ballot, for which the rounds seen matter."""
        return c.attempts < self.ops[op].ballots

    def useful(self, op: int, c: Candidacy, s: State) -> State | None:
        """What this phase may still read in an answer; None if that is nothing."""
        if not self.trust.answers:
            return s
        if s.attempt != c.attempt:
            return None
        if self.goes_on(op, c) and max(s.promised.round, s.confirmed_ballot.round) >= self.rank(
            op, c.attempts
        ):
            return None
        if c.phase is Phase.LOOK:
            return s._replace(promised=ZERO)
        is_no = c.phase is Phase.STAND and voter.is_no(s, c.base.ballot, c.ballot)
        is_yes = c.phase is Phase.STAND and s.accepted == c.base.ballot.fast and s.tenure == c.stood
        matters = s.accepted == c.ballot if c.phase is Phase.ACCEPT else s.promised == c.ballot
        if not (is_no or is_yes or matters):
            return None
        if c.phase is Phase.ACCEPT:
            s = s._replace(promised=c.ballot)
        return s if is_no else s._replace(confirmed_ballot=ZERO, confirmed=VACANT)
