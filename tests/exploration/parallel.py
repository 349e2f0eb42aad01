"""Several explorations at once, one process each: one case with one order of its ballots."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence

from tests.exploration import cases, search
from tests.exploration.changes import cases as change_cases
from tests.exploration.changes import search as change_search

Case = cases.Case | change_cases.Case
Found = search.Found | change_search.Found
Order = tuple[tuple[int, int], ...]
Job = tuple[Case, Order]

CI: tuple[Case, ...] = (*cases.CI, *change_cases.CI)
FULL: tuple[Case, ...] = (*cases.FULL, *change_cases.FULL)
FLOORS = cases.FLOORS | change_cases.FLOORS


def explore_all(chosen: Sequence[Case], *, processes: int) -> Iterator[tuple[Case, Order, Found]]:
    """Explore every order of every case, at most so many at a time; yields in the order of the cases.

    A violation is explored once more with its steps kept, for which a clean exploration has no room.
    """
    jobs = [(case, order) for case in chosen for order in orders(case)]
    # A process for each, so that none keeps another's memory; what they import is imported once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(processes, maxtasksperchild=1) as pool:
        for (case, order), found in zip(jobs, pool.imap(_run, jobs, chunksize=1), strict=True):
            yield case, order, found


def orders(case: Case) -> Iterator[Order]:
    return change_cases.orders(case) if isinstance(case, change_cases.Case) else cases.orders(case)


def ballots(case: Case, order: Order) -> str:
    """An order of ballots in words, lowest first: the operations, with the epoch or the attempt."""
    if isinstance(case, change_cases.Case):
        return " < ".join(f"{case.bodies[i].name}{epoch}" for i, epoch in order)
    return " < ".join(f"{case.all_ops[i].name}{'abcd'[k] if k else ''}" for i, k in order)


def claims(case: Case) -> str:
    """What is judged, of whom."""
    if isinstance(case, change_cases.Case):
        return f"S1-S3, S5: {case.name}, {len(case.old)} voters to {len(case.new)}"
    return f"S1-S3, L1: {case.name}, {case.n} voters"


def _run(job: Job) -> Found:
    case, order = job
    if isinstance(case, change_cases.Case):
        return change_search.explore(case, order)
    found = search.explore(case, order)
    return search.explore(case, order, traced=True) if found.violation else found
