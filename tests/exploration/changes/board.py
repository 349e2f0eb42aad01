"""The states of a change, and the acts between them, as tuples of small numbers.

A state is `(sent, roles, past, voter, voter, ...)`:

    sent     a set of bits: every message there is so far that may still change a voter or be answered
    roles    number of a tuple of numbers of `Role`s: how far each proposer is
    past     number of what is chosen
    voter    number of a `Voter`; old ones first, then those that stay, then new ones

Voters of one of these three kinds are interchangeable, so that states which differ by their order are one.
Who begins without reading a ledger does so as soon as it may: nobody is bound to take what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from polity_cli.core.operation import Candidacy, Phase
from tests.exploration.changes.cases import Case, Coordinator, Errand, Slot
from tests.exploration.changes.counting import Counting
from tests.exploration.changes.crowd import Crowd, Entry, Said
from tests.exploration.changes.proposers import Heard, Machine, Proposers, Role, Turn
from tests.exploration.index import Index

if TYPE_CHECKING:
    from polity_cli.core.electorate import Electorate

Place = tuple[int, ...]
Gathering = tuple[tuple[int, int, int], ...]
"""Answers: the position of each voter, what it is once it has given it, and its number."""
Key = tuple[tuple[int, int], ...]
"""Answers: the kind of each voter, and the number of its answer. Voters of one kind are alike."""


class Act(NamedTuple):
    """A proposer begins, or says something on these answers."""

    proposer: int
    turn: Turn
    heard: Gathering = ()
    hint: tuple[int, int] | None = None
    """The position of the voter whose ledger it reads, and what that is then."""


_STOPS = Turn(Role(over=True))
"""What a proposer does that can hear nothing useful any more, whatever is said: then nothing else matters."""


class Board:
    """All states of one case with one order of ballots, made as they are asked for."""

    crowd_of = Crowd
    forgets = True
    """Whether it goes without votes and proposers that decide nothing any more."""

    def __init__(self, case: Case, order: tuple[Slot, ...]) -> None:
        self.case = case
        self.proposers = Proposers(case, order)
        self.crowd = self.crowd_of(self.proposers.records)
        self.roles: Index[Role] = Index()
        self.casts: Index[tuple[int, ...]] = Index()
        kinds = [len(kind) for kind in self.proposers.numbers]
        self.kinds = [kind for kind, many in enumerate(kinds) for _ in range(many)]
        self._spans = [(sum(kinds[:k]), sum(kinds[: k + 1])) for k in range(3)]
        self.counting = Counting(self.crowd, self.kinds, forgets=self.forgets)
        self._plays: dict[tuple[int, int], tuple[Turn, int, int]] = {}
        self._turns: dict[tuple[int, int, Key], tuple[Turn | None, bool]] = {}
        self._speaks: dict[tuple[int, int], dict[Key, Turn | None]] = {}
        self._waits: dict[tuple[int, int, Key], Turn | None] = {}
        self._goes_on: dict[tuple[int, int, Key, int], tuple[Turn | None, bool]] = {}
        self._entries: dict[int, Electorate] = {}
        self._used: dict[tuple[int, int, int], int] = {}
        self._asked: dict[int, int] = {}

    def start(self) -> Place:
        many = len(self.case.bodies)
        old = self.crowd.member(self.proposers.founding, many)
        new = self.crowd.newcomer(many)
        voters = tuple(new if kind == 2 else old for kind in self.kinds)
        sent = 1 << self._message(Entry(self.proposers.founding))
        if not any(c.target for c in self.case.coordinators):
            sent |= 1 << self._message(Entry(self.proposers.records[1]))
        return self._canonical(
            (sent, self.casts((self.roles(Role()),) * many), self.counting.pasts(0), *voters)
        )

    def cast(self, place: Place) -> list[Role]:
        return [self.roles.items[role] for role in self.casts.items[place[1]]]

    def _message(self, said: Said) -> int:
        number = self.crowd.messages(said)
        if isinstance(said, Entry):
            self._entries[number] = said.record
        return number

    def known(self, sent: int) -> dict[int, Electorate]:
        """The records that are known to be chosen, by epoch."""
        return {record.epoch: record for i, record in self._entries.items() if sent >> i & 1}

    def asked(self, cast: int) -> int:
        """The messages that are waiting for answers."""
        known = self._asked.get(cast)
        if known is None:
            roles = [self.roles.items[role] for role in self.casts.items[cast]]
            bits = {self._message(role.message) for role in roles if role.message is not None}
            known = self._asked[cast] = sum(1 << bit for bit in bits)
        return known

    # Acts.

    def acts(self, place: Place) -> Iterator[tuple[Act, Place]]:
        """Every act from here, and the state that it leads to."""
        known = self.known(place[0])
        found: list[Iterator[tuple[Act, Place]]] = []
        for proposer, role in enumerate(self.cast(place)):
            body = self.case.bodies[proposer]
            if role.over:
                continue
            if role.machine is None:
                if isinstance(body, Errand) and body.stands and body.epochs[0] in known:
                    found.append(self._stands(place, proposer, known[body.epochs[0]]))
                continue
            later = [e for e in body.epochs if e > role.machine.electorate.epoch]
            hears = self._hears(place, proposer, role)
            first = next(hears, None)
            if first is None and not later and self.forgets:
                act = Act(proposer, _STOPS)
                yield act, self._after(place, act)
                return
            if first is not None:
                found += [iter((first,)), hears]
            if later and later[0] in known:
                assert isinstance(role.machine, Candidacy)
                found.append(self._goes_on_in(place, proposer, role.machine, known[later[0]]))
        for acts in found:
            yield from acts

    def _stands(self, place: Place, proposer: int, record: Electorate) -> Iterator[tuple[Act, Place]]:
        """It stands on the vacancy that some voter's ledger shows."""
        tried = set()
        asked = self.asked(place[1])
        for position, voter in enumerate(place[3:]):
            for after, ways in self.crowd.reachable(voter, place[0], asked).items():
                it = self.crowd.voters.items[after]
                mark = (self.kinds[position], voter, it.role)
                if it.epoch != record.epoch or mark in tried:
                    continue
                if any(self._shows(before, record.epoch) == it.role for before, _ in ways):
                    continue
                tried.add(mark)
                turn = self.proposers.begins(proposer, record, it.role)
                if turn is not None:
                    act = Act(proposer, turn, hint=(position, after))
                    yield act, self._after(place, act)

    def _shows(self, voter: int, epoch: int) -> object:
        it = self.crowd.voters.items[voter]
        return it.role if it.epoch == epoch else None

    def _hears(self, place: Place, proposer: int, role: Role) -> Iterator[tuple[Act, Place]]:
        number = self.casts.items[place[1]][proposer]
        for gathering in self._gatherings(place, proposer, role, number):
            turn = self._spoken(proposer, number, self._key(gathering))
            if turn is not None:
                act = Act(proposer, turn, gathering)
                yield act, self._after(place, act)

    def _goes_on_in(
        self, place: Place, proposer: int, c: Candidacy, record: Electorate
    ) -> Iterator[tuple[Act, Place]]:
        """It may have heard before that its stand is void."""
        turn = self.proposers.goes_on(proposer, c, record)
        if turn is not None:
            act = Act(proposer, turn)
            yield act, self._after(place, act)
        if c.phase is not Phase.STAND:
            return
        number = self.casts.items[place[1]][proposer]
        role = self.roles.items[number]
        for gathering in self._gatherings(place, proposer, role, number):
            void = self._void(proposer, number, self._key(gathering), record)
            if void is None:
                continue
            fewer = [gathering[:i] + gathering[i + 1 :] for i in range(len(gathering))]
            if any(self._void(proposer, number, self._key(less), record) for less in fewer):
                continue
            act = Act(proposer, void, gathering)
            yield act, self._after(place, act)

    def _void(self, proposer: int, role: int, key: Key, record: Electorate) -> Turn | None:
        """How it goes on with nothing pending, because of these answers."""
        known = self._goes_on.get((proposer, role, key, record.epoch))
        if known is None:
            c = self.roles.items[role].machine
            assert isinstance(c, Candidacy)
            heard = self.proposers.listened(proposer, c, self._heard(key))
            turn = None if heard is None else self.proposers.goes_on(proposer, heard, record)
            plain = self.proposers.goes_on(proposer, c, record)
            known = (None if turn is None or turn == plain else turn), True
            self._goes_on[proposer, role, key, record.epoch] = known
        return known[0]

    # Hearing.

    def _gatherings(self, place: Place, proposer: int, role: Role, number: int) -> Iterator[Gathering]:
        """Every set of answers that it may hear of what it asks, none of which it need not wait for."""
        assert role.message is not None
        message, asked = self._message(role.message), self.asked(place[1])
        voters = place[3:]
        options = [self.crowd.heard(voter, place[0], asked, message) for voter in voters]
        chosen: list[tuple[int, int, int]] = []

        def further(position: int, least: int) -> Iterator[Gathering]:
            if position == len(voters):
                yield tuple(chosen)
                return
            alike = position + 1 < len(voters) and (
                self.kinds[position + 1] == self.kinds[position] and voters[position + 1] == voters[position]
            )
            if least < 0:
                yield from further(position + 1, -1)
            for i in range(max(least, 0), len(options[position])):
                after, reply = options[position][i]
                chosen.append((position, after, reply))
                if self._is_open(proposer, number, chosen):
                    yield from further(position + 1, i if alike else -1)
                chosen.pop()

        yield from further(0, -1)

    def _is_open(self, proposer: int, role: int, chosen: list[tuple[int, int, int]]) -> bool:
        turn, is_open = self._turn(proposer, role, self._key(tuple(chosen)))
        return turn is not None or is_open

    def _key(self, gathering: Gathering) -> Key:
        return tuple(sorted([(self.kinds[position], reply) for position, _, reply in gathering]))

    def _heard(self, key: Key) -> Heard:
        """These answers, from the first voters of each kind."""
        free = [first for first, _ in self._spans]
        heard = []
        for kind, reply in key:
            heard.append((free[kind], self.crowd.replies.items[reply]))
            free[kind] += 1
        return tuple(heard)

    def _turn(self, proposer: int, role: int, key: Key) -> tuple[Turn | None, bool]:
        """What it says once it heard these, and whether it may wait for more of them."""
        known = self._turns.get((proposer, role, key))
        if known is None:
            machine = self.roles.items[role].machine
            assert machine is not None
            heard = self._heard(key)
            turn = self.proposers.hears(proposer, machine, heard) if heard else None
            is_open = self.proposers._listen(proposer, machine, heard) is not None
            known = self._turns[proposer, role, key] = turn, is_open
        return known

    def _spoken(self, proposer: int, role: int, key: Key) -> Turn | None:
        """What it says on these answers, if it would not say the same on fewer of them."""
        if key not in self._speaks.setdefault((proposer, role), {}):
            turn = self._said(proposer, role, key)
            fewer = [key[:i] + key[i + 1 :] for i in range(len(key))]
            if turn is not None and any(self._said(proposer, role, less) == turn for less in fewer):
                turn = None
            self._speaks[proposer, role][key] = turn
        return self._speaks[proposer, role][key]

    def _said(self, proposer: int, role: int, key: Key) -> Turn | None:
        if not key:
            return None
        return self._turn(proposer, role, key)[0] or self._waited(proposer, role, key)

    def _waited(self, proposer: int, role: int, key: Key) -> Turn | None:
        if (proposer, role, key) not in self._waits:
            machine = self.roles.items[role].machine
            turn = None
            if isinstance(machine, Candidacy):
                turn = self.proposers.waits(proposer, machine, self._heard(key))
            self._waits[proposer, role, key] = turn
        return self._waits[proposer, role, key]

    # The state behind an act.

    def _after(self, place: Place, act: Act) -> Place:
        return self._canonical(self.plainly_after(place, act))

    def plainly_after(self, place: Place, act: Act) -> Place:
        """The state behind an act, its voters in the order of before."""
        voters = list(place[3:])
        for position, after, _ in act.heard:
            voters[position] = after
        if act.hint is not None:
            voters[act.hint[0]] = act.hint[1]
        return self._with(place, voters, act.proposer, act.turn)

    def _with(self, place: Place, voters: Iterable[int], proposer: int, turn: Turn) -> Place:
        plays = self._plays.get((proposer, id(turn)))
        if plays is None:
            said = [self._message(it) for it in (*turn.news, turn.role.message) if it is not None]
            plays = self._plays[proposer, id(turn)] = (
                turn,
                self.roles(turn.role),
                sum(1 << bit for bit in said),
            )
        _, role, said_bits = plays
        roles = list(self.casts.items[place[1]])
        roles[proposer] = role
        cleared = self.crowd.cleared
        return (
            place[0] | said_bits,
            self.casts(tuple(roles)),
            place[2],
            *(cleared(voter, proposer) for voter in voters),
        )

    def _canonical(self, place: Place) -> Place:
        """The one state for all that differ in who is who, in who has begun, or in what is spent."""
        sent, cast, past, *voters = self._counted(place)
        for first, end in self._spans:
            if end - first > 1:
                voters[first:end] = sorted(voters[first:end])
        asked = self.asked(cast)
        used = asked
        for voter in set(voters):
            used |= self._using(voter, sent, asked)
        for entry in self._entries:
            used |= 1 << entry
        return (sent & used, cast, past, *voters)

    def _counted(self, place: Place) -> Place:
        place = self._begun(place)
        past, voters = self.counting.counted(place[2], place[3:], place[0], self.asked(place[1]))
        return (place[0], place[1], past, *voters)

    def order_after(self, place: Place, act: Act) -> list[int]:
        """For each voter of the state behind an act, its position before."""
        voters = self._counted(self.plainly_after(place, act))[3:]
        order = list(range(len(voters)))
        for first, end in self._spans:
            order[first:end] = sorted(order[first:end], key=voters.__getitem__)
        return order

    def _using(self, voter: int, sent: int, asked: int) -> int:
        """The messages that may still make something of a voter."""
        key = (voter, sent, asked)
        known = self._used.get(key)
        if known is None:
            known = 0
            for ways in self.crowd.reachable(voter, sent, asked).values():
                for _, bit in ways:
                    known |= 1 << bit
            self._used[key] = known
        return known

    def _begun(self, place: Place) -> Place:
        known = self.known(place[0])
        for proposer, role in enumerate(self.cast(place)):
            body = self.case.bodies[proposer]
            if role.machine is not None or role.over or body.epochs[0] not in known:
                continue
            if isinstance(body, Coordinator) or not body.stands:
                turn = self.proposers.begins(proposer, known[body.epochs[0]], None)
                assert turn is not None
                place = self._with(place, place[3:], proposer, turn)
                return self._begun(place)
        return place


__all__ = ["Act", "Board", "Gathering", "Machine", "Place"]
