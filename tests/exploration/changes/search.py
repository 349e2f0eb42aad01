"""Breadth first through all states of a case, so that the first violation has the fewest acts."""

from __future__ import annotations

import resource
import time
from typing import NamedTuple

from tests.exploration.changes.board import Act, Board, Place
from tests.exploration.changes.cases import Case, Slot
from tests.exploration.changes.judge import Judge
from tests.exploration.changes.story import Way, named, story
from tests.exploration.search import no_garbage
from tests.judging.operation import Violation


class Found(NamedTuple):
    """What an exploration came to; `violation` is empty if all promises were kept."""

    case: str
    states: int
    transitions: int
    looks: int
    seconds: float
    megabytes: int
    violation: str = ""
    trace: tuple[str, ...] = ()

    @property
    def lone(self) -> int:
        """Nobody is left alone here: L1 is not judged."""
        return 0


def explore(case: Case, order: tuple[Slot, ...], *, limit: int | None = None) -> Found:
    """Explore a case with one order of its ballots to the end, to a violation, or to `limit` states."""
    limit = case.limit if limit is None else limit
    began = time.process_time()
    board = Board(case, order)
    judge = Judge(board)
    came: dict[Place, tuple[Place, Act] | None] = {}
    transitions, violation = 0, ""
    trace: tuple[str, ...] = ()
    at: Place = ()
    last: tuple[Act, Place] | None = None
    with no_garbage():
        try:
            start = board.start()
            came[start] = None
            judge.check(None, start)
            frontier = [start]
            while frontier:
                ahead: list[Place] = []
                for at in frontier:
                    last = None
                    if limit is not None and len(came) >= limit:
                        ahead.clear()
                        break
                    for act, after in board.acts(at):
                        transitions += 1
                        last = act, after
                        is_new = after not in came
                        if is_new:
                            came[after] = (at, act)
                            ahead.append(after)
                        if is_new or act.turn.outcome is not None:
                            judge.check(act, after)
                frontier = ahead
        except Violation as caught:
            violation = named(board, str(caught))
            trace = story(board, _way(came, at, last))
    seconds = time.process_time() - began
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Found(case.name, len(came), transitions, judge.looks, seconds, megabytes, violation, trace)


def _way(came: dict[Place, tuple[Place, Act] | None], at: Place, last: tuple[Act, Place] | None) -> Way:
    """The acts that led to a state, and the one behind it at which a promise was found broken."""
    way: Way = [(at, *last)] if last is not None else []
    while at and (before := came[at]) is not None:
        way.append((*before, at))
        at = before[0]
    return way[::-1]
