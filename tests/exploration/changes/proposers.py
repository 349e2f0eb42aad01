"""Operations and coordinators: what each says next, made by the shipped functions from the answers it hears.

A proposer is its state machine as it is while it waits for answers, without counters and times, which decide
nothing. What it hears counts from the first answer on that makes it say something else.

A coordinator's phases in which nothing is decided here (see `__init__`) are answered as everybody would who
holds the record, has entered it, or has promised its ballot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from polity_cli.core import candidacy, change, change_state
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO
from polity_cli.core.change_state import Change
from polity_cli.core.electorate import Electorate, Enrolled, Roll, founding_record
from polity_cli.core.messages import Register
from polity_cli.core.operation import Candidacy, Order, Outcome, Phase, Verdict
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import VACANT
from polity_cli.edges import wire
from tests.exploration.changes.cases import Case, Coordinator, Errand, Slot, Voters
from tests.exploration.changes.crowd import Entry, Said
from tests.simulation.world import MAJORITY, POLITY, ROLE, voter_id

Machine = Candidacy | Change
_LISTED = ((b"", m.RoleList(b"", b"", b"", 0, (), False)),)
"""All that a coordinator may remember of the lists of roles once it has gone on: that there were some."""
Heard = tuple[tuple[int, m.Reply], ...]
"""Answers, each with the position of its voter."""


class Role(NamedTuple):
    """A proposer's part: not begun, asking, or over. `barred` says that its claim must never be chosen."""

    machine: Machine | None = None
    message: Said | None = None
    over: bool = False
    barred: bool = False


class Turn(NamedTuple):
    """What a proposer does: the part it then plays, what it says beside its question, how it ended."""

    role: Role
    news: tuple[Said, ...] = ()
    outcome: Outcome | None = None


class Draws:
    """Ids by whose they are and of which turn; the round of a ballot by its place in the case's order."""

    def __init__(self, proposer: int, turn: int, rank: int) -> None:
        self._head, self._rank, self._count = (0xD0 + proposer, turn), rank, 0

    def id(self) -> bytes:
        self._count += 1
        return bytes((*self._head, self._count)) + bytes(5)

    def jitter(self) -> float:
        return 0.5

    def round_floor(self) -> int:
        return self._rank


class Proposers:
    """The proposers of a case; `voters` are the ids of all voters, in the order of their positions."""

    def __init__(self, case: Case, order: tuple[Slot, ...]) -> None:
        self.case = case
        self._rank = {slot: rank for rank, slot in enumerate(order, start=1)}
        both = [v for v in case.old if v in case.new]
        self.numbers = (
            [v for v in case.old if v not in case.new],
            both,
            [v for v in case.new if v not in case.old],
        )
        self.voters = [voter_id(v) for kind in self.numbers for v in kind]
        self.founding = founding_record(POLITY, roll_of(case.old).voters, MAJORITY)
        joint = self.founding.joint_with(roll_of(case.new))
        self.records = [self.founding, joint, joint.completed()]
        for body in case.coordinators:
            if body.target:
                other = self.founding.joint_with(roll_of(body.target))
                self.records += [other, other.completed()]

    # What begins by itself.

    def begins(self, proposer: int, record: Electorate, hint: Register | None) -> Turn | None:
        """The first turn of a proposer; of one that stands, with this register as its ledger shows it."""
        body = self.case.bodies[proposer]
        draws = self._draws(proposer, record.epoch, 0)
        if isinstance(body, Coordinator):
            target = roll_of(body.target) if body.target else None
            move = change.begin(record, target, node="n0", alive=None, now_s=0.0, draws=draws, codec=wire)
            return self._after_change(proposer, move.change)
        order = Order(body.purpose, ROLE, f"n{body.home}", claim_of(proposer))
        if hint is None:
            look = candidacy.begin(order, record, local=None, alive=(), now_s=0.0, draws=draws)
            return self._prepares(proposer, look.candidacy, draws)
        begun = candidacy.begin(order, record, local=hint, alive=None, now_s=0.0, draws=draws)
        if begun.candidacy.phase is not Phase.STAND:
            return None
        return self._after(proposer, begun.candidacy)

    def goes_on(self, proposer: int, c: Candidacy, record: Electorate) -> Turn | None:
        """It learns of a newer record, and goes on in that."""
        draws = self._draws(proposer, record.epoch, 0)
        entered = candidacy.enter_epoch(c, record, 0.0, draws).candidacy
        if entered.phase is not Phase.LOOK:
            return Turn(Role(_tidy(entered), candidacy.message(entered)))
        return self._prepares(proposer, entered, draws)

    def _prepares(self, proposer: int, c: Candidacy, draws: Draws) -> Turn | None:
        """A look that settles nothing, or a vacancy, is followed by this."""
        everyone = frozenset(e.voter for e in c.electorate.voters)
        return self._after(proposer, candidacy._prepare(c._replace(alive=everyone), 0.0, draws).candidacy)

    # Hearing.

    def hears(self, proposer: int, machine: Machine, heard: Heard) -> Turn | None:
        """What it says once it heard these: exactly these, as all but one of them would not do."""
        for last in range(len(heard)):
            rest = heard[:last] + heard[last + 1 :]
            before = self._listen(proposer, machine, rest)
            if before is None:
                continue
            after = self._hear(proposer, before, *heard[last])
            if _said(after) != _said(machine):
                return self._turn(proposer, after)
        return None

    def waits(self, proposer: int, c: Candidacy, heard: Heard) -> Turn | None:
        """What a candidate says once it heard these and has waited for more in vain."""
        if c.phase is not Phase.STAND:
            return None
        before = self._listen(proposer, c, heard)
        if not isinstance(before, Candidacy):
            return None
        waited = candidacy.wake(before._replace(asks=99), 0.0, self._draws(proposer, c.electorate.epoch, 8))
        return None if waited.candidacy.phase is Phase.YIELD else self._turn(proposer, waited.candidacy)

    def listened(self, proposer: int, c: Candidacy, heard: Heard) -> Candidacy | None:
        """The candidacy once it heard these, if it then still waits."""
        before = self._listen(proposer, c, heard)
        return before if isinstance(before, Candidacy) else None

    def _listen(self, proposer: int, machine: Machine, heard: Heard) -> Machine | None:
        now = machine
        for position, reply in heard:
            now = self._hear(proposer, now, position, reply)
            if _said(now) != _said(machine):
                return None
        return now

    def _hear(self, proposer: int, machine: Machine, position: int, reply: m.Reply) -> Machine:
        reply = reply._replace(voter=self.voters[position])
        draws = self._draws(proposer, machine.electorate.epoch, 1 + _stage(machine))
        if isinstance(machine, Candidacy):
            assert isinstance(reply, m.State)
            return candidacy.hear(machine, reply, 0.0, draws).candidacy
        node = machine.electorate.node_of(reply.voter)
        return change.hear(machine, node or "", reply, 0.0, draws, wire).change

    def _turn(self, proposer: int, machine: Machine) -> Turn | None:
        if isinstance(machine, Change):
            return self._after_change(proposer, machine)
        return self._after(proposer, machine)

    # What is said.

    def _draws(self, proposer: int, epoch: int, stage: int) -> Draws:
        return Draws(proposer, 16 * epoch + stage, self._rank.get((proposer, epoch), 99))

    def _fits(self, proposer: int, c: Candidacy) -> bool:
        return c.ballot.round == self._rank[proposer, c.electorate.epoch]

    def _after(self, proposer: int, c: Candidacy) -> Turn | None:
        if c.phase is Phase.YIELD:
            return None
        if c.outcome is not None:
            news: tuple[Said, ...] = ()
            if c.outcome.chosen is not None and self.case.news:
                news = (m.Announce(POLITY, c.electorate.epoch, ROLE, *c.outcome.chosen),)
            took = c.outcome.verdict in (Verdict.WON, Verdict.RECALLED, Verdict.UNKNOWN)
            told = c.outcome._replace(
                yes=frozenset(), no=frozenset(), required=0, population=0, round_trips=0, silent=()
            )
            return Turn(Role(over=True, barred=not took), news, told)
        if not self._fits(proposer, c):
            return None
        return Turn(Role(_tidy(c), candidacy.message(c)))

    def _after_change(self, proposer: int, c: Change) -> Turn | None:
        news: list[Said] = []
        while not _is_waiting(c):
            if c.phase is change_state.Phase.ENTER:
                assert c.record is not None
                news.append(Entry(c.record))
                if c.electorate.epoch == 1:
                    # Who carries it on is a coordinator of the joint epoch.
                    return Turn(Role(over=True), tuple(news))
            before = c
            for reply in self._courtesies(c):
                draws = self._draws(proposer, c.electorate.epoch, 4 + _stage(c))
                node = c.electorate.node_of(reply.voter) or (c.record and c.record.node_of(reply.voter)) or ""
                c = change.hear(c, node, reply, 0.0, draws, wire).change
                if c.phase is not before.phase:
                    break
            else:
                return None
        if c.phase in (change_state.Phase.DONE, change_state.Phase.YIELD):
            return Turn(Role(over=True), tuple(news)) if c.phase is change_state.Phase.DONE else None
        if c.phase is change_state.Phase.CARRY:
            carry = c.carries[0]
            if carry.phase is Phase.YIELD or not self._fits(proposer, carry):
                return None
            message: Said = candidacy.message(carry)
        else:
            asked = change._messages(c, wire)[0]
            assert isinstance(asked, m.ListRoles | m.Prepare | m.Accept)
            message = asked
            if c.phase is change_state.Phase.PREPARE and c.ballot.round != self._rank[proposer, 1]:
                return None
        return Turn(Role(_tidy_change(c), message), tuple(news))

    def _courtesies(self, c: Change) -> Iterator[m.Reply]:
        """The answers of everybody to what decides nothing here."""
        epoch, digest = c.electorate.epoch, b""
        record = c.record if c.record is not None else c.electorate
        if c.phase is change_state.Phase.ENTER:
            epoch, digest = record.epoch, c.digest
        for voter in self.voters:
            head = (c.attempt, voter, POLITY, epoch)
            match c.phase:
                case change_state.Phase.OFFER | change_state.Phase.ENTER:
                    yield m.Holding(*head, digest, True)
                case change_state.Phase.PREPARE:
                    yield m.State(*head, c.ballot, ZERO, VACANT, ZERO, VACANT)
                case change_state.Phase.ACCEPT:
                    yield m.State(*head, c.ballot, c.ballot, VACANT, ZERO, VACANT)
                case change_state.Phase.LEARN:
                    assert c.learning is not None
                    yield self._page(c.learning.message, head)

    def _page(self, fetch: m.Fetch, head: tuple[bytes, bytes, bytes, int]) -> m.Page:
        for record in self.records:
            data = wire.encode_record(record)
            if wire.digest(data) == fetch.digest:
                pages = wire.pages(data)
                return m.Page(
                    fetch.attempt, *head[1:], fetch.digest, fetch.page, len(pages), pages[fetch.page]
                )
        raise AssertionError("a record that nobody wanted")


def roll_of(voters: Voters) -> Roll:
    return Roll(tuple(sorted(Enrolled(voter_id(i), f"n{i}") for i in voters)), MAJORITY)


def claim_of(proposer: int) -> bytes:
    return bytes((0xC0, proposer)) + bytes(6)


def owner(claim: bytes) -> int | None:
    """Whose claim it is; None for the empty claim of a new role."""
    return claim[1] if claim else None


def _said(machine: Machine) -> object:
    """Another one means that something was said."""
    if isinstance(machine, Candidacy):
        return machine.phase
    return machine.phase, [carry.phase for carry in machine.carries]


def _stage(machine: Machine) -> int:
    """A number for each stage of a proposer in one epoch."""
    if isinstance(machine, Candidacy):
        return machine.phase is Phase.ACCEPT
    phases = change_state.Phase
    if machine.phase is phases.CARRY:
        return 1 + (machine.carries[0].phase is Phase.ACCEPT)
    return {phases.LIST: 0, phases.PREPARE: 3, phases.LEARN: 4, phases.OFFER: 5, phases.ACCEPT: 6}.get(
        machine.phase, 7
    )


def _is_waiting(c: Change) -> bool:
    """True if what it hears next decides something here."""
    phases = change_state.Phase
    if c.phase in (phases.LIST, phases.CARRY, phases.DONE, phases.YIELD):
        return True
    return c.phase in (phases.PREPARE, phases.ACCEPT) and c.electorate.epoch == 1


def _tidy(c: Candidacy) -> Candidacy:
    everyone = frozenset(e.voter for e in c.electorate.voters)
    c = c._replace(
        states=(), asks=1, round_trips=0, wake_at_s=0.0, unsettled=0, highest_round=0, alive=everyone
    )
    return c if c.phase is Phase.STAND else c._replace(base=Chosen(ZERO, VACANT))


def _tidy_change(c: Change) -> Change:
    return c._replace(
        states=(),
        done_by=frozenset(),
        has_healed=False,
        lists=_LISTED if c.lists or c.roles or c.carries else (),
        highest_round=0,
        asks=0,
        round_trips=0,
        wake_at_s=0.0,
        carries=tuple(_tidy(carry) for carry in c.carries),
    )


__all__ = ["Errand", "Proposers", "Role", "Turn", "claim_of", "owner", "roll_of"]
