"""`scripts/prove`: explores, runs random schedules, plants bugs, and prints what came of it.

Exits with 1 if a promise is broken, if a planted bug escapes, or if something harmless is accused.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tests.exploration.parallel import CI, FLOORS, FULL, ballots, claims, explore_all
from tests.prove.bugs import EVERY_BUG, HARMLESS, Catch, catch
from tests.simulation.campaign import CHANGES, campaign, explain


class Row(NamedTuple):
    """A line of the table: what was tried, how much of it, what came of it; `ok` is what should be so."""

    what: str
    extent: str
    verdict: str
    ok: bool


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/prove", description=__doc__)
    parser.add_argument(
        "--schedules", type=int, default=100_000, help="random schedules (default %(default)s)"
    )
    parser.add_argument(
        "--changes", type=int, default=600, help="... with changes of the electorate (default %(default)s)"
    )
    parser.add_argument(
        "--full", action="store_true", help="explore three operations at once too, and more changes"
    )
    parser.add_argument("--brief", action="store_true", help="do not print how each bug shows itself")
    parser.add_argument(
        "--without-bugs", action="store_true", help="plant none: the suite plants them all as well"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)"
    )
    asked = parser.parse_args()
    began = time.monotonic()
    rows: list[Row] = []
    for part in (
        explorations(full=asked.full, jobs=asked.jobs),
        iter(()) if asked.without_bugs else bugs(jobs=asked.jobs, brief=asked.brief),
        schedules("S1-S3, L1: random schedules", asked.schedules, jobs=asked.jobs),
        schedules(
            "S1-S3, S5, L1: random changes of the electorate", asked.changes, jobs=asked.jobs, shape=CHANGES
        ),
    ):
        for row in part:
            print(f"[{time.monotonic() - began:5.0f} s] {row.what}: {row.extent}: {row.verdict}", flush=True)
            rows.append(row)
    print()
    show(rows)
    wrong = sum(not row.ok for row in rows)
    print(f"{len(rows)} lines, {wrong} of them wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def explorations(*, full: bool, jobs: int) -> Iterator[Row]:
    """The promises in every state that few operations can reach; a row for each order of their ballots."""
    states: Counter[str] = Counter()
    cases = [*CI, *(FULL if full else ())]
    for case, order, found in explore_all(cases, processes=jobs):
        states[case.name] += found.states
        if found.violation:
            print(found.violation, *(f"    {line}" for line in found.trace), sep="\n")
        yield Row(
            f"{claims(case)}, {ballots(case, order)}{case.bound}",
            f"{found.states:,} states",
            "VIOLATED" if found.violation else "kept",
            not found.violation,
        )
    few = [case.name for case in cases if states[case.name] < FLOORS[case.name]]
    if few:
        yield Row(f"explored: {', '.join(few)}", "fewer states than there are", "INCOMPLETE", False)


def schedules(claim: str, count: int, *, jobs: int, shape: str | None = None) -> Iterator[Row]:
    """Random schedules, and L1 in the calm after each storm."""
    totals, failure, seconds = campaign(0, count, jobs=jobs, shape=shape)
    print(totals)
    if failure is not None:
        print(explain(failure))
    yield Row(
        f"{claim}, {totals.schedules / seconds:.0f} a second",
        f"{totals.schedules:,} schedules",
        "VIOLATED" if failure else "kept",
        failure is None and totals.schedules == count,
    )


def bugs(*, jobs: int, brief: bool) -> Iterator[Row]:
    """Every planted bug is caught, and nothing harmless is."""
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        for found in pool.imap(catch, [*EVERY_BUG, *HARMLESS], chunksize=1):
            if found.by and not brief:
                print(f"\n{found.bug}: {found.violation}", *(f"    {line}" for line in found.trace), sep="\n")
            yield _row(found)


def _row(found: Catch) -> Row:
    if found.bug in HARMLESS:
        return Row(
            f"harmless: {found.bug}", found.after, "ACCUSED" if found.by else "not accused", not found.by
        )
    verdict = f"caught by {found.by}" if found.by else "ESCAPED"
    return Row(f"bug: {found.bug}", found.after, verdict, bool(found.by))


def show(rows: list[Row]) -> None:
    """The table, in columns."""
    what, extent = max(len(row.what) for row in rows), max(len(row.extent) for row in rows)
    for row in rows:
        print(f"{row.what:{what}}  {row.extent:>{extent}}  {row.verdict}")


if __name__ == "__main__":
    sys.exit(main())
