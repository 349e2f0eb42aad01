"""An operation's turns: all that it can say next, whatever it hears of the answers that are there.

An operation is seen only when it says something: when it enters another phase, or ends. Until then it has
merely heard answers, which nobody else can tell and which it may as well hear later, just before it speaks.
So `turns` takes all answers that are there and finds every order of hearing some of them (then perhaps being
woken, or giving up) up to the first thing said. Two more steps are never kept apart: a wait ends at once in
the look behind it, as a look begun earlier sees all that a later one sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from polity_cli.core import candidacy
from polity_cli.core.messages import State
from polity_cli.core.operation import Candidacy, Phase, Purpose, Verdict
from tests.exploration.cases import Case, Slot
from tests.exploration.index import Index
from tests.exploration.rules import NOBODY, Heard, Rules, Trust, Turn


class _Node(NamedTuple):
    """A candidacy on the way to what it says next: the voters and states it heard, and what it says unheard.

    States and turns are by number.
    """

    candidacy: Candidacy
    heard: tuple[tuple[int, int], ...]
    unheard: tuple[int, ...]


class Hearing(Rules):
    """The rules, and what operations make of answers."""

    def __init__(self, case: Case, order: tuple[Slot, ...], trust: Trust) -> None:
        super().__init__(case, order, trust)
        self._states: Index[State] = Index()
        self._turns: Index[Turn] = Index()
        self._results: Index[tuple[object, ...]] = Index()
        self._alike: list[int] = []
        self._nodes: list[_Node] = []
        self._numbers: dict[tuple[int, Candidacy], int] = {}
        self._heard_so: dict[tuple[int, int, int], tuple[tuple[int, ...], int | None]] = {}

    def turns(self, op: int, c: Candidacy, answers: tuple[frozenset[State], ...]) -> list[Turn]:
        """All that the operation can say next, if `answers` (of voter 0, of voter 1, ...) have arrived."""
        alike = [answers.index(answer) for answer in answers]
        offers = [(i, self._states(s)) for i, states in enumerate(answers) for s in sorted(states)]
        found: dict[int, tuple[int, tuple[tuple[int, int], ...]]] = {}
        waiting: list[tuple[int, tuple[tuple[int, int], ...]]] = [(self._node(op, c), ())]
        seen: set[object] = set()
        for node, how in waiting:  # which grows
            for turn in self._nodes[node].unheard:
                found.setdefault(self._alike[turn], (turn, how))
            for i, state in self._unlike(node, offers, alike):
                turns, after = self._hearing(op, node, i, state)
                for turn in turns:
                    found.setdefault(self._alike[turn], (turn, (*how, (i, state))))
                if after is not None:
                    mark = self._like(after, alike)
                    if mark not in seen:
                        seen.add(mark)
                        waiting.append((after, (*how, (i, state))))
        return [
            self._turns.items[turn]._replace(how=tuple((i, self._states.items[s]) for i, s in how))
            for turn, how in found.values()
        ]

    def _node(self, op: int, c: Candidacy) -> int:
        """The number of a candidacy that heard something, and what it says if it hears nothing more."""
        c = c._replace(wake_at_s=0.0)
        number = self._numbers.get((op, c))
        if number is None:
            heard = tuple((self.voters.index(v), self._states(s._replace(voter=NOBODY))) for v, s in c.states)
            turns = [*self._woken(op, c, ()), *self._given_up(op, c, ())]
            number = self._numbers[op, c] = len(self._nodes)
            self._nodes.append(_Node(c, heard, tuple(map(self._turn, turns))))
        return number

    def _turn(self, turn: Turn) -> int:
        number = self._turns(turn)
        if number == len(self._alike):
            # Turns that differ only in how they came about are one.
            self._alike.append(self._results((turn.candidacy, turn.sent, turn.outcome)))
        return number

    def _hearing(self, op: int, node: int, voter: int, state: int) -> tuple[tuple[int, ...], int | None]:
        """What it says once it has heard this as well, or which candidacy it then is, if another."""
        key = (node, voter, state)
        known = self._heard_so.get(key)
        if known is None:
            now = self._nodes[node].candidacy
            move = self._heard(op, now, self._states.items[state]._replace(voter=self.voters[voter]))
            after = move.candidacy
            known = (), None
            if after.phase is not now.phase or move.send is not None:
                known = tuple(map(self._turn, self._said(op, move, (), ""))), None
            elif after._replace(wake_at_s=0.0) != now:
                known = (), self._node(op, after)
            self._heard_so[key] = known
        return known

    def _unlike(
        self, node: int, offers: list[tuple[int, int]], alike: list[int]
    ) -> Iterator[tuple[int, int]]:
        """The answers to hear next, one of those that come from voters of whom all the same is known."""
        if not self.trust.answers:
            yield from offers
            return
        heard = dict(self._nodes[node].heard)
        tried = set()
        for i, state in offers:
            known = heard.get(i)
            mark = (alike[i], known, state)
            if mark not in tried and state != known:
                tried.add(mark)
                yield i, state

    def _like(self, node: int, alike: list[int]) -> object:
        """Equal for candidacies that heard the same from voters whose answers are the same."""
        if not self.trust.answers:
            return node
        return tuple(sorted([(alike[i], state) for i, state in self._nodes[node].heard]))

    def _woken(self, op: int, c: Candidacy, how: Heard) -> list[Turn]:
        move = self._draw(op, c.attempts, lambda d: candidacy.wake(c, 0.0, d))
        if move.candidacy.phase is c.phase:
            return []  # it only asks again
        return self._said(op, move, how, "has waited long enough")

    def _given_up(self, op: int, c: Candidacy, how: Heard) -> list[Turn]:
        """Only if it then says more than `unknown`, which is no more than dying."""
        never_asked = c.attempts == 0 or (c.attempts == 1 and c.phase is Phase.PREPARE)
        if c.order.purpose is Purpose.QUERY or (never_asked and self.trust.answers):
            return []
        move = candidacy.give_up(c)
        assert move.candidacy.outcome is not None
        if move.candidacy.outcome.verdict is Verdict.UNKNOWN:
            return []
        return self._said(op, move, how, "has no more time")
