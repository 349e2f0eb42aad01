"""Several explorations at once, one process each: one case with one order of its ballots."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence

from tests.exploration.cases import Case, Slot, orders
from tests.exploration.search import Found, explore

Job = tuple[Case, tuple[Slot, ...]]


def explore_all(cases: Sequence[Case], *, processes: int) -> Iterator[tuple[Case, tuple[Slot, ...], Found]]:
    """Explore every order of every case, at most so many at a time; yields in the order of the cases.

    A violation is explored once more with its steps kept, for which a clean exploration has no room.
    """
    jobs = [(case, order) for case in cases for order in orders(case)]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        for (case, order), found in zip(jobs, pool.imap(_run, jobs, chunksize=1), strict=True):
            yield case, order, found


def _run(job: Job) -> Found:
    found = explore(*job)
    return explore(*job, traced=True) if found.violation else found
