"""The voters of an exploration: what each may be, by number, and what a message or a question makes of it.

A voter is its register, the answers that each operation may still hear from it, and the votes it ever cast.
What becomes of it depends on nothing else but what the operations are asking: it is worked out once.

A look is answered by a voter at any time and at no cost, so of such answers a voter keeps at most one, that
of an earlier register: whenever its register changes, the answer it gave before is under way to the look, or
it is not. If it is, that one will be heard, and else the one of the present register. To hear a newer answer
of one voter after an older one comes to the same as hearing the newer alone: had the older settled anything,
the look would be over, and fewer answers settle nothing that more of them leave open.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from polity_cli.core import candidacy
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.messages import Register, Stand, State
from polity_cli.core.operation import Candidacy, Phase
from polity_cli.core.tally import Chosen
from tests.exploration import promises
from tests.exploration.cases import Case, Slot
from tests.exploration.hearing import Hearing
from tests.exploration.index import Index
from tests.exploration.promises import History
from tests.exploration.rules import Trust, owner


class Voter(NamedTuple):
    """A voter: its register, the answers it gave to each operation, and the votes it ever cast as bits."""

    register: Register
    answers: tuple[int, ...]
    votes: int


class Role(NamedTuple):
    """The part an operation plays: not begun, under way with a candidacy since term `start`, or over.

    `barred` says that it ended, or may have, with a verdict by which its claim must never be chosen. `since`
    is the newest ballot chosen when it last said something. See `endings`.
    """

    begun: bool = False
    candidacy: Candidacy | None = None
    start: int = 0
    barred: bool = False
    since: Ballot = ZERO


class Crowd:
    """All voters that a case may come to have."""

    def __init__(self, case: Case, order: tuple[Slot, ...], trust: Trust) -> None:
        self.case, self.trust = case, trust
        self.rules = Hearing(case, order, trust)
        self.messages: Index[m.Message] = Index()
        self.answers: Index[frozenset[State]] = Index()
        self.voters: Index[Voter] = Index()
        self.roles: Index[Role] = Index()
        self.ops: Index[tuple[int, ...]] = Index()
        self.pasts: Index[History] = Index()
        self._votes: Index[Chosen] = Index()
        self._tried: dict[tuple[Register, m.Message], tuple[Register, State | None]] = {}
        self._effects: dict[int, tuple[int, int, int]] = {}
        self._heard: dict[tuple[int, int, int], int] = {}
        self._bare: dict[tuple[int, int], int] = {}

    def _answer(self, register: Register, message: m.Message) -> tuple[Register, State | None]:
        key = (register, message)
        known = self._tried.get(key)
        if known is None:
            known = self._tried[key] = self.rules.answer(register, message)
        return known

    def _effects_on(self, voter: int) -> tuple[int, int, int]:
        """How many messages were considered, which of them change the voter now, and which may ever."""
        known = self._effects.get(voter, (0, 0, 0))
        if known[0] == len(self.messages.items):
            return known
        register = self.voters.items[voter].register
        _, now, ever = known
        for i, message in enumerate(self.messages.items[known[0] :], start=known[0]):
            if not isinstance(message, m.Read):
                now |= (self._answer(register, message)[0] != register) << i
                ever |= (not self.rules.is_spent(register, message)) << i
        known = self._effects[voter] = (len(self.messages.items), now, ever)
        return known

    def _taking(self, voter: int, message: m.Message, ops: int) -> tuple[int, ...]:
        before = self.voters.items[voter]
        register, reply = self._answer(before.register, message)
        promises.check_step(before.register, register)
        votes = before.votes
        if (register.accepted, register.tenure) != (before.register.accepted, before.register.tenure):
            votes |= 1 << self._votes(Chosen(register.accepted, register.tenure))
            if isinstance(message, Stand) and register.accepted.is_fast:
                votes |= 1 << self._votes(Chosen(message.base, message.vacancy))
        choices = []
        for op, number in enumerate(self.ops.items[ops]):
            role = self.roles.items[number]
            if self._looks_lazily(role):
                kept = {before.answers[op]}
                if not self.answers.items[before.answers[op]]:
                    # An answer of before this change is under way to the look, or it is not.
                    earlier = self._now(op, role, before.register)
                    if earlier != self._now(op, role, register):
                        kept.add(earlier)
            else:
                answers = set(self.answers.items[before.answers[op]])
                if reply is not None and owner(reply.attempt) == op:
                    answers.add(reply)
                kept = {self._kept(op, role, register, answers)}
            choices.append(sorted(kept))
        return tuple(self.voters(Voter(register, kept, votes)) for kept in product(*choices))

    def _looks_lazily(self, role: Role) -> bool:
        lazily = self.trust.answers and not self.trust.looks
        return lazily and role.candidacy is not None and role.candidacy.phase is Phase.LOOK

    def _now(self, op: int, role: Role, register: Register) -> int:
        """The answer that a voter with this register gives to what the operation asks now, as a set."""
        return self._asked(op, role, register, set())

    def _kept(self, op: int, role: Role, register: Register, answers: set[State]) -> int:
        """The answers that an operation may still hear, with those a voter gives it without being changed.

        To a look at most one is kept, of an earlier register; that of the present one can be had any time.
        """
        if self._looks_lazily(role):
            assert role.candidacy is not None
            return self.answers(frozenset(s for s in answers if s.attempt == role.candidacy.attempt))
        return self._asked(op, role, register, answers)

    def _asked(self, op: int, role: Role, register: Register, answers: set[State]) -> int:
        c = role.candidacy
        if c is None or (self.trust.looks and c.phase is Phase.LOOK):
            return self.answers(frozenset())
        asked = [candidacy.message(c)]
        if not self.trust.answers and c.phase is Phase.ACCEPT:
            first = Phase.PREPARE if c.stood is None else Phase.STAND
            asked.append(candidacy.message(c._replace(phase=first, proposal=c.stood)))
        for message in asked:
            after, reply = self._answer(register, message)
            if after == register and reply is not None:
                answers.add(reply)
        useful = (self.rules.useful(op, c, s) for s in answers)
        return self.answers(frozenset(s for s in useful if s is not None))

    def _without(self, voter: int, past: int) -> int:
        """The voter without its votes for what is chosen: the past has them."""
        known = self._bare.get((voter, past))
        if known is None:
            it = self.voters.items[voter]
            chosen = sum(1 << self._votes(c) for c in self.pasts.items[past].chosen)
            known = self._bare[voter, past] = self.voters(it._replace(votes=it.votes & ~chosen))
        return known

    def _offered(self, op: int, role: int, voter: int) -> int:
        """The answers of a voter that the operation may hear now."""
        key = (op, role, voter)
        known = self._heard.get(key)
        if known is None:
            it = self.voters.items[voter]
            known = it.answers[op]
            if self._looks_lazily(self.roles.items[role]) and not self.answers.items[known]:
                known = self._now(op, self.roles.items[role], it.register)
            self._heard[key] = known
        return known

    def _telling(self, voter: int, op: int, role: Role) -> int:
        """The voter's number once the operation asks what it asks now."""
        it = self.voters.items[voter]
        answers = list(it.answers)
        answers[op] = self._kept(op, role, it.register, set(self.answers.items[answers[op]]))
        return self.voters(it._replace(answers=tuple(answers)))
