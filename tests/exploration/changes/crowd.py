"""The voters, by number: what a message makes of one, and all that it may still become.

A voter is its ledger, the answers that proposers may still hear from it, and the votes it ever cast. A vote
is cast in the epoch that the voter is in, and goes with it into the next one while it is its newest.

`reachable` is all that a voter may become by the messages sent so far, `heard` what it may be once it has
just given an answer to what a proposer asks. A message taken before that could as well be taken after it,
if in both orders the voter becomes the same; then only the later order is made.
"""

from __future__ import annotations

from typing import NamedTuple

from polity_cli import booth
from polity_cli.core import messages as m
from polity_cli.core.ballot import CLASSIC, ZERO, Ballot
from polity_cli.core.electorate import Electorate
from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from polity_cli.core.voter import Self
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger
from tests.exploration import promises
from tests.exploration.index import Index
from tests.simulation.world import POLITY, ROLE

NOBODY = b"somebody"
"""The voter's id in answers whose voter does not matter."""


class Entry(NamedTuple):
    """The telling that a record is chosen: all its pages, of which voters only need the last."""

    record: Electorate


Said = m.RoleQuery | m.ListRoles | m.Announce | Entry


class Vote(NamedTuple):
    """What a voter accepted, in the epoch it was in; of a role, or as the record that follows."""

    epoch: int
    role: str
    ballot: Ballot
    tenure: Tenure


class Voter(NamedTuple):
    polity: bytes
    epoch: int
    digest: bytes
    electorate: Register
    role: Register
    answers: tuple[frozenset[m.Reply], ...]
    votes: int = 0


class _Twin(MemoryLedger):
    """A ledger that can be made to hold what a voter remembers."""

    def hold(self, voter: Voter) -> None:
        self._me = Self(NOBODY, voter.polity, voter.epoch, voter.digest)
        named = ((ELECTORATE, voter.electorate), (ROLE, voter.role))
        self._registers = {role: register for role, register in named if register != Register()}


class Crowd:
    """All voters that a case may come to have."""

    def __init__(self, records: list[Electorate]) -> None:
        self.voters: Index[Voter] = Index()
        self.messages: Index[Said] = Index()
        self.votes: Index[Vote] = Index()
        self.replies: Index[m.Reply] = Index()
        self._twin = _Twin(NOBODY)
        for record in records:
            data = wire.encode_record(record)
            pages = wire.pages(data)
            with self._twin.transaction(ELECTORATE) as turn:
                for at, page in enumerate(pages):
                    turn.save_page(wire.digest(data), at, len(pages), page)
        self._taken: dict[tuple[int, int, bool], int] = {}
        self._reachable: dict[tuple[int, int, int], dict[int, list[tuple[int, int]]]] = {}
        self._heard: dict[tuple[int, int, int, int], list[tuple[int, int]]] = {}
        self._cleared: dict[tuple[int, int], int] = {}

    def newcomer(self, proposers: int) -> int:
        return self.voters(Voter(NO_POLITY, 0, b"", Register(), Register(), (frozenset(),) * proposers))

    def member(self, record: Electorate, proposers: int) -> int:
        me = Voter(
            POLITY,
            record.epoch,
            wire.digest(wire.encode_record(record)),
            Register(),
            Register(),
            (frozenset(),) * proposers,
        )
        return self.voters(me)

    def take(self, voter: int, message: int, is_asked: bool) -> int:
        """The voter once it has taken a message; its answer is kept if the message is being asked now."""
        key = (voter, message, is_asked)
        known = self._taken.get(key)
        if known is None:
            known = self._taken[key] = self._take(
                self.voters.items[voter], self.messages.items[message], is_asked
            )
        return known

    def _take(self, before: Voter, message: Said, is_asked: bool) -> int:
        twin = self._twin
        twin.hold(before)
        reply = None
        if isinstance(message, Entry):
            data = wire.encode_record(message.record)
            pages = wire.pages(data)
            last = len(pages) - 1
            booth.handle(twin, m.Offer(b"telling", wire.digest(data), last, len(pages), pages[last], True))
        else:
            answer = booth.answer(twin, wire.encode(message))
            reply = None if answer is None else wire.decode_reply(answer)._replace(serial=0)
        me = twin.me()
        electorate, role = twin.register(ELECTORATE), twin.register(ROLE)
        was = before.role if me.epoch == before.epoch else taken_back(before.role, role)
        promises.check_step(was, role)
        promises.check_step(before.electorate, electorate)
        after = before._replace(
            polity=me.polity, epoch=me.epoch, digest=me.digest, electorate=electorate, role=role
        )
        after = after._replace(votes=before.votes | self._cast(before, after, message))
        if reply is not None and is_asked and is_useful(message, reply):
            owner = proposer_of(reply.attempt)
            answers = list(after.answers)
            answers[owner] |= {essence(message, reply)}
            after = after._replace(answers=tuple(answers))
        return self.voters(after)

    def _cast(self, before: Voter, after: Voter, message: Said) -> int:
        votes = 0
        for epoch in {before.epoch, after.epoch} - {0}:
            is_new = epoch != before.epoch
            at, tenure = after.role.accepted, after.role.tenure
            if at != ZERO and (is_new or at != before.role.accepted):
                votes |= 1 << self.votes(Vote(epoch, ROLE, at, tenure))
                if isinstance(message, m.Stand) and at.is_fast and message.base != ZERO:
                    votes |= 1 << self.votes(Vote(epoch, ROLE, message.base, message.vacancy))
            at, tenure = after.electorate.accepted, after.electorate.tenure
            if at != ZERO and tenure.term == epoch + 1:
                votes |= 1 << self.votes(Vote(epoch, ELECTORATE, at, tenure))
        return votes

    def cleared(self, voter: int, proposer: int) -> int:
        """The voter whose answers to a proposer that asks something else now are forgotten."""
        key = (voter, proposer)
        known = self._cleared.get(key)
        if known is None:
            it = self.voters.items[voter]
            answers = list(it.answers)
            answers[proposer] = frozenset()
            known = self._cleared[key] = self.voters(it._replace(answers=tuple(answers)))
        return known

    def reachable(self, voter: int, sent: int, asked: int) -> dict[int, list[tuple[int, int]]]:
        """All that the voter may become, each with the voters and messages that lead to it directly."""
        key = (voter, sent, asked)
        known = self._reachable.get(key)
        if known is None:
            known = self._reachable[key] = {voter: []}
            bits = [i for i in range(sent.bit_length()) if sent >> i & 1]
            waiting = [voter]
            for now in waiting:  # which grows
                for bit in bits:
                    after = self.take(now, bit, bool(asked >> bit & 1))
                    if after == now:
                        continue
                    if after not in known:
                        known[after] = []
                        waiting.append(after)
                    known[after].append((now, bit))
        return known

    def path(self, voter: int, after: int, sent: int, asked: int) -> list[tuple[int, int]]:
        """The shortest way for a voter to become this one: what it is before each message it takes."""
        ways: dict[int, list[tuple[int, int]]] = {voter: []}
        waiting = [voter]
        for now in waiting:  # which grows
            for bit in range(sent.bit_length()):
                then = self.take(now, bit, bool(asked >> bit & 1)) if sent >> bit & 1 else now
                if then not in ways:
                    ways[then] = [*ways[now], (now, bit)]
                    waiting.append(then)
        return ways[after]

    def heard(self, voter: int, sent: int, asked: int, message: int) -> list[tuple[int, int]]:
        """What the voter may be once it has answered this message, and the answer."""
        key = (voter, sent, asked, message)
        known = self._heard.get(key)
        if known is None:
            said = self.messages.items[message]
            assert not isinstance(said, m.Announce | Entry)
            owner = proposer_of(said.attempt)
            known = self._heard[key] = [
                (voter, self.replies(reply)) for reply in sorted(self.voters.items[voter].answers[owner])
            ]
            for now, ways in self.reachable(voter, sent, asked).items():
                after = self.take(now, message, True)
                new = self.voters.items[after].answers[owner] - self.voters.items[now].answers[owner]
                if not new or self._is_deferrable(ways, message, asked, after):
                    continue
                known += [(after, self.replies(reply)) for reply in new]
        return known

    def _is_deferrable(self, ways: list[tuple[int, int]], message: int, asked: int, after: int) -> bool:
        """True if the message taken last can as well be taken after this one."""
        for before, last in ways:
            if last != message:
                first = self.take(before, message, True)
                if self.take(first, last, bool(asked >> last & 1)) == after:
                    return True
        return False


def taken_back(before: Register, after: Register) -> Register:
    """What a voter remembered, as it may be in another epoch: a fast vote is the vacancy it was cast on."""
    base = before.accepted._replace(kind=CLASSIC)
    if before.accepted.is_fast and after.accepted == base:
        return before._replace(accepted=base, tenure=before.tenure.vacancy_before())
    return before


def proposer_of(drawn: bytes) -> int:
    """Whose draw an id is."""
    return drawn[0] - 0xD0


def essence(message: Said, reply: m.Reply) -> m.Reply:
    """The answer without what nobody reads in it who asked this."""
    if isinstance(reply, m.State) and isinstance(message, m.Prepare | m.Accept):
        reply = reply._replace(confirmed_ballot=ZERO, confirmed=VACANT)
        return (
            reply._replace(promised=message.ballot, tenure=message.tenure)
            if isinstance(message, m.Accept)
            else reply
        )
    return reply


def is_useful(message: Said, reply: m.Reply) -> bool:
    """True if the answer may decide anything where this was asked."""
    match message, reply:
        case m.ListRoles(), m.RoleList():
            return True
        case m.Stand(), m.State():
            is_vote = reply.accepted == message.base.fast and reply.tenure == message.tenure
            is_no = message.base < reply.confirmed_ballot < message.ballot
            return is_vote or is_no or reply.promised == message.ballot
        case m.Prepare(), m.State():
            return reply.promised == message.ballot
        case m.Accept(), m.State():
            return reply.accepted == message.ballot
    return False
