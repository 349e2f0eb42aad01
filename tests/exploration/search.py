"""Breadth first through all states of a case, so that the first violation has the fewest steps.

A clean exploration keeps no more than the set of states, each as a few bytes (whole, not hashed: no state is
ever mistaken for another). Steps are remembered only where a way back is wanted (`traced`).
"""

from __future__ import annotations

import gc
import resource
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from polity_cli.core.ballot import ZERO
from tests.exploration.board import EVERY, Board, Place, Shortcuts, Step
from tests.exploration.cases import Case, Slot
from tests.exploration.lone import stuck
from tests.exploration.looks import unsettling
from tests.exploration.rules import TRUSTING, Trust
from tests.exploration.story import story
from tests.judging.operation import Violation


class Found(NamedTuple):
    """What an exploration came to; `violation` is empty if all promises were kept, `lone` the runs for L1,
    `looks` the combinations of answers given to looks."""

    case: str
    states: int
    transitions: int
    lone: int
    looks: int
    seconds: float
    megabytes: int
    violation: str = ""
    trace: tuple[str, ...] = ()


def explore(
    case: Case,
    order: tuple[Slot, ...],
    *,
    trust: Trust = TRUSTING,
    shortcuts: Shortcuts = EVERY,
    traced: bool = False,
    with_lone: bool = True,
    limit: int | None = None,
) -> Found:
    """Explore a case with one order of its ballots' ids to the end, to a violation, or to `limit` states.

    `seconds` are of one core. Steps are told if `traced`; without it a violation has no trace, only a text.
    """
    began = time.process_time()
    search = Search(Board(case, order, trust=trust, shortcuts=shortcuts, told=traced), traced=traced)
    violation, runs, looks = "", 0, 0
    trace: tuple[str, ...] = ()
    with no_garbage():
        try:
            search.run(limit)
            if with_lone:
                runs = search.leave_alone()
                looks = search.look()
        except Violation as caught:
            violation = str(caught)
            trace = story(search.board, search.way(caught))
    seconds = time.process_time() - began
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Found(
        case.name, len(search.seen), search.transitions, runs, looks, seconds, megabytes, violation, trace
    )


class Search:
    """One exploration; `seen` are the states reached, packed."""

    def __init__(self, board: Board, *, traced: bool) -> None:
        self.board = board
        self.transitions = 0
        self.seen: set[bytes] = set()
        self._came: dict[Place, tuple[Place, Step] | None] | None = {} if traced else None
        self._at: Place = ()

    def run(self, limit: int | None = None) -> None:
        """Reach every state, or stop beyond `limit`. Raises Violation at the first broken promise."""
        start = self.board.start()
        seen, came, steps = self.seen, self._came, self.board.steps
        seen.add(pack(start))
        if came is not None:
            came[start] = None
        frontier = [start]
        while frontier and (limit is None or len(seen) <= limit):
            ahead = []
            for place in frontier:
                self._at = place
                found = steps(place)
                self.transitions += len(found)
                for step, after in found:
                    key = pack(after)
                    if key not in seen:
                        seen.add(key)
                        ahead.append(after)
                        if came is not None:
                            came[after] = (place, step)
            frontier = ahead

    def places(self) -> Iterable[Place]:
        """Every state reached, if the exploration is traced."""
        return self._came or ()

    def leave_alone(self) -> int:
        """Check L1 on the ledgers of every state reached; returns how many lone operations were run."""
        board = self.board
        runs = 0
        checked: set[tuple[object, ...]] = set()
        size = array("I").itemsize
        first, last = 2 * size, (2 + board.case.n) * size
        for voters in sorted({tuple(array("I", key[first:last])) for key in self.seen}):
            registers = tuple(sorted(board.voters.items[v].register for v in voters))
            if registers in checked:
                continue
            checked.add(registers)
            for problem in stuck(board.rules, registers, checked):
                runs += 1
                if problem:
                    self._at = next((p for p in self._came or () if p[3:] == voters), ())
                    raise Violation(f"L1: {problem}")
        return runs

    def look(self) -> int:
        """Check what looks may find, where that is trusted; returns how many combinations were tried."""
        if not self.board.trust.looks:
            return 0
        registers = {voter.register for voter in self.board.voters.items}
        tried, problem = unsettling(self.board.rules, {r._replace(promised=ZERO) for r in registers})
        if problem:
            self._at = ()
            raise Violation(f"S3: {problem}")
        return tried

    def way(self, violation: Violation) -> list[tuple[Place, Step | None]]:
        """The places and steps that led to a violation; empty if they were not remembered."""
        if self._came is None or self._at not in self._came:
            return []
        back: list[tuple[Place, Step | None]] = [(self._at, getattr(violation, "step", None))]
        while (before := self._came[back[-1][0]]) is not None:
            back.append(before)
        return back[::-1]


def pack(place: Place) -> bytes:
    messages = place[0]
    return array("I", place[1:]).tobytes() + messages.to_bytes((messages.bit_length() + 7) // 8, "little")


@contextmanager
def no_garbage() -> Iterator[None]:
    """Millions of tuples without a cycle among them: looking for cycles would cost half of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
