"""`python -m tests.exploration [CASE...] [--full] [--processes N]` explores, and prints what was reached.

Without names the cases of CI, with `--full` also those that take long. Cases like `1-3/stands` are of a
change of the electorate, from one voter to three; there 3 in `B3` is the epoch of a ballot.
Exits with 1 at a violation, whose steps are printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.exploration.parallel import CI, FULL, Case, ballots, explore_all


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.exploration",
        description=__doc__,
        epilog=f"Cases: {names(CI)}; with --full also {names(FULL)}.",
    )
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--full", action="store_true", help="also the cases that take minutes")
    parser.add_argument("--processes", type=int, default=2, help="default %(default)s")
    asked = parser.parse_args(arguments)
    known = {case.name: case for case in (*CI, *FULL)}
    strange = [name for name in asked.cases if name not in known]
    if strange:
        parser.error(f"no case is called {strange[0]}; they are {', '.join(known)}")
    cases = [known[name] for name in asked.cases] or [*CI, *(FULL if asked.full else ())]
    return report(cases, processes=asked.processes)


def names(cases: Sequence[Case]) -> str:
    return ", ".join(case.name for case in cases)


def report(cases: Sequence[Case], *, processes: int) -> int:
    """Explore these cases and print a line for each order of ballots; returns the exit code."""
    began = time.monotonic()
    states = transitions = broken = 0
    width = max(len(case.name) for case in cases)
    print(f"{'case':{width}}     states transitions  L1 runs    looks  seconds   MB  verdict")
    for case, order, found in explore_all(cases, processes=processes):
        states, transitions = states + found.states, transitions + found.transitions
        verdict = "VIOLATED" if found.violation else "kept"
        print(
            f"{case.name:{width}} {found.states:10,} {found.transitions:11,} "
            f"{found.lone:8,} {found.looks:8,} "
            f"{found.seconds:8.1f} {found.megabytes:4}  {verdict} "
            f"(ballots {ballots(case, order)}{case.bound})",
            flush=True,
        )
        if found.violation:
            broken += 1
            print(f"  {found.violation}", *(f"    {line}" for line in found.trace), sep="\n", flush=True)
    seconds = time.monotonic() - began
    print(f"{states:,} states, {transitions:,} transitions, {broken} violations, {seconds:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
