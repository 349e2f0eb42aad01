"""The same exploration without its reductions: each turn of each voter is a step. For comparisons.

Voters take messages one by one, whether somebody waits for the answer or not; a proposer hears what was
answered, and any number more of answers than it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from polity_cli.core.operation import Outcome
from tests.exploration.changes.board import Act, Board, Key, Place
from tests.exploration.changes.cases import Case, Slot
from tests.exploration.changes.counting import bits
from tests.exploration.changes.crowd import Crowd, Said, Vote
from tests.exploration.changes.proposers import Turn


class _Crowd(Crowd):
    """Voters that become by themselves what they are when somebody hears them."""

    def reachable(self, voter: int, sent: int, asked: int) -> dict[int, list[tuple[int, int]]]:
        return {voter: []}

    def heard(self, voter: int, sent: int, asked: int, message: int) -> list[tuple[int, int]]:
        return [it for it in super().heard(voter, sent, asked, message) if it[0] == voter]


class _Board(Board):
    """Every turn is a step."""

    crowd_of = _Crowd
    forgets = False

    def steps(self, place: Place) -> Iterator[Place]:
        asked = self.asked(place[1])
        for at, voter in enumerate(place[3:], start=3):
            for bit in bits(place[0]):
                after = self.crowd.take(voter, bit, bool(asked >> bit & 1))
                if after != voter:
                    yield self._canonical((*place[:at], after, *place[at + 1 :]))

    def _spoken(self, proposer: int, role: int, key: Key) -> Turn | None:
        return self._said(proposer, role, key)

    def _using(self, voter: int, sent: int, asked: int) -> int:
        return sent


class Reached(NamedTuple):
    """What an exploration saw, told without its own numbers."""

    states: int
    outcomes: set[tuple[int, Outcome]]
    said: set[tuple[type, Said]]
    chosen: set[Vote]
    """Every vote that is, or may come to be, chosen in some state."""


def reached(case: Case, order: tuple[Slot, ...], *, eager: bool) -> Reached:
    board = _Board(case, order) if eager else Board(case, order)
    seen = {board.start()}
    frontier = list(seen)
    outcomes: set[tuple[int, Outcome]] = set()
    chosen = 0
    for place in frontier:  # which grows
        chosen |= board.counting.pasts.items[place[2]]
        chosen |= board.counting.possible(place[3:], place[0], board.asked(place[1]))
        acts: list[tuple[Act | None, Place]] = list(board.acts(place))
        if isinstance(board, _Board):
            acts += [(None, after) for after in board.steps(place)]
        for act, after in acts:
            if act is not None and act.turn.outcome is not None:
                outcomes.add((act.proposer, act.turn.outcome))
            if after not in seen:
                seen.add(after)
                frontier.append(after)
    said = {(type(it), it) for it in board.crowd.messages.items}
    return Reached(len(seen), outcomes, said, set(board.counting.votes_of(chosen)))
