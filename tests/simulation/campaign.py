"""Many random schedules, in several processes, and what they amounted to.

Whatever is not a clean end is a failure: a broken promise, an exception anywhere (in the judge too), and a
schedule that takes longer than `TOO_LONG_S`.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from polity_cli.core.change_state import Verdict as Ended
from polity_cli.core.operation import Verdict
from tests.simulation.chaos import Storm
from tests.simulation.courses import COURSES
from tests.simulation.schedule import schedule
from tests.simulation.shrink import shorten
from tests.simulation.upheaval import Upheaval
from tests.simulation.world import SHAPES

TOO_LONG_S = 60.0
_AT_ONCE = 200


class TooLong(Exception):
    """A schedule, or its judge, does not come to an end."""


class Failure(NamedTuple):
    seed: int
    shape: str
    error: str


class Totals:
    """What schedules amounted to; `verdicts` of operations, with None for those that died or were stopped."""

    def __init__(self) -> None:
        self.schedules = 0
        self.operations = 0
        self.messages = 0
        self.verdicts: Counter[Verdict | None] = Counter()
        self.befell: Counter[str] = Counter()
        self.terms: Counter[int] = Counter()
        self.changes: Counter[Ended | None] = Counter()
        self.epochs: Counter[int] = Counter()

    def count(self, storm: Storm) -> None:
        self.schedules += 1
        self.operations += len(storm.ops)
        self.messages += storm.witness.messages
        self.verdicts.update(op.outcome and op.outcome.verdict for op in storm.ops)
        self.befell.update(storm.befell)
        if len(storm.plan.roles) > 1:
            self.befell["several roles"] += 1
        if isinstance(storm, Upheaval):
            self.changes.update(op.outcome and op.outcome.verdict for op in storm.changes)
            self.epochs[storm.witness.records.newest.epoch] += 1
        self.terms[
            max(
                (t.term for watch in storm.witness.watches.values() for t in watch.chosen.values()), default=0
            )
        ] += 1

    def add(self, other: Totals) -> None:
        self.schedules += other.schedules
        self.operations += other.operations
        self.messages += other.messages
        self.verdicts.update(other.verdicts)
        self.befell.update(other.befell)
        self.terms.update(other.terms)
        self.changes.update(other.changes)
        self.epochs.update(other.epochs)

    def __str__(self) -> str:
        verdicts = {"none" if v is None else v.value: count for v, count in self.verdicts.items()}
        changes = {"none" if v is None else v.value: count for v, count in self.changes.items()}
        lines = [f"changes: {_in_order(changes)}; highest epoch {max(self.epochs)}"] if changes else []
        return "\n".join(
            (
                f"{self.operations} operations, {self.messages} messages handled by voters",
                f"verdicts: {_in_order(verdicts)}",
                f"faults: {_in_order(self.befell)}",
                f"highest term of a schedule: {max(self.terms, default=0)}, "
                f"3 or more in {sum(n for term, n in self.terms.items() if term >= 3)}",
                *lines,
            )
        )


def _in_order(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])))


CHANGES = "changes"
"""The shape of schedules with changes of the electorate, whose courses take turns."""


def shape_of(seed: int, shape: str | None = None) -> str:
    """The shapes take turns, and so do the courses."""
    if shape is not None and shape != CHANGES:
        return shape
    turns = list(SHAPES if shape is None else COURSES)
    return turns[seed % len(turns)]


def run(seeds: range, shape: str | None = None) -> tuple[Totals, Failure | None]:
    """Run the schedules of these seeds one after the other, up to the first that fails."""
    totals = Totals()
    signal.signal(signal.SIGALRM, _ring)
    gc.disable()  # each schedule leaves some cycles behind; they are swept between two rounds
    try:
        for seed in seeds:
            mine = shape_of(seed, shape)
            signal.setitimer(signal.ITIMER_REAL, TOO_LONG_S)
            try:
                totals.count(schedule(seed, mine))
            except Exception as error:  # noqa: BLE001 - everything is red
                return totals, Failure(seed, mine, f"{type(error).__name__}: {error}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        gc.enable()
        gc.collect()
    return totals, None


def _ring(number: int, frame: FrameType | None) -> None:
    raise TooLong(f"no end after {TOO_LONG_S:g} s")


def campaign(
    first: int,
    count: int | None,
    *,
    jobs: int,
    minutes: float | None = None,
    shape: str | None = None,
    progress: Callable[[Totals, float], None] = lambda totals, seconds: None,
) -> tuple[Totals, Failure | None, float]:
    """Run `count` schedules, or as many as there is time for; also says how many seconds it took."""
    began = time.monotonic()
    totals = Totals()
    ends = began + 60 * minutes if minutes is not None else None
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        rounds = ((seeds, shape) for seeds in _rounds(first, count, ends))
        # In order, so that of several failures the first is told.
        for part, failure in pool.imap(_run, rounds):
            totals.add(part)
            if failure is not None:
                pool.terminate()
                return totals, failure, time.monotonic() - began
            progress(totals, time.monotonic() - began)
            if ends is not None and time.monotonic() > ends:
                pool.terminate()
                break
    return totals, None, time.monotonic() - began


def _run(task: tuple[range, str | None]) -> tuple[Totals, Failure | None]:
    return run(*task)


def _rounds(first: int, count: int | None, ends: float | None) -> Iterator[range]:
    end = None if count is None else first + count
    for start in itertools.count(first, _AT_ONCE):
        if (end is not None and start >= end) or (ends is not None and time.monotonic() > ends):
            return
        yield range(start, start + _AT_ONCE if end is None else min(end, start + _AT_ONCE))


def explain(failure: Failure) -> str:
    """What a person wants to know of a schedule that fails: how to replay it, and its short form."""
    replay = f"replay: python -m tests.simulation {failure.seed} {failure.shape}"
    if failure.error.startswith(TooLong.__name__):
        return f"{replay}\n{failure.error}"
    return f"{replay}\n{failure.error}\n\n{shorten(failure.seed, failure.shape)}"
