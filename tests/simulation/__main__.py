"""`python -m tests.simulation SEED SHAPE` replays one schedule and prints what happened in it.

If it breaks a promise, the shortest schedule is printed that breaks the same one; `--full` prints all of it.

`python -m tests.simulation --random COUNT` runs many with the seeds from `--first-seed` on, the shapes
taking turns; `--minutes M` runs as many as there is time for. Both stop at the first that fails (exit code 1)
and say how to replay it. With `--changes` the electorate changes in each of them.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.simulation.campaign import CHANGES, Failure, Totals, campaign, explain
from tests.simulation.courses import COURSES
from tests.simulation.schedule import storm_of
from tests.simulation.world import SHAPES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.split("\n\n")[0])
    parser.add_argument("seed", nargs="?", type=int)
    parser.add_argument(
        "shape",
        nargs="?",
        choices=[*SHAPES, *COURSES],
        help="how many voters, and their rule; or a change of them",
    )
    parser.add_argument("--changes", action="store_true", help="run schedules with changes of the electorate")
    parser.add_argument("--full", action="store_true", help="do not shorten what fails")
    parser.add_argument("--random", type=int, metavar="COUNT", help="run this many schedules")
    parser.add_argument("--minutes", type=float, help="run schedules for so long")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)"
    )
    parser.add_argument("--first-seed", type=int, default=0, metavar="N")
    args = parser.parse_args()
    if args.random is not None or args.minutes is not None:
        return _many(args)
    if args.seed is None or args.shape is None:
        parser.error("a SEED and a SHAPE, or --random COUNT")
    return _one(args.seed, args.shape, full=args.full)


def _one(seed: int, shape: str, *, full: bool) -> int:
    storm = storm_of(seed, shape)
    lines: list[str] = []
    storm.witness.transcript = lines
    try:
        storm.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        failure = Failure(seed, shape, f"{type(error).__name__}: {error}")
        print(*lines if full else [explain(failure)], failure.error if full else "", sep="\n")
        return 1
    print(*lines, sep="\n")
    return 0


def _many(args: argparse.Namespace) -> int:
    told = 0.0

    def progress(totals: Totals, seconds: float) -> None:
        nonlocal told
        if args.minutes is not None and seconds >= told + 10:
            told = seconds
            print(f"{seconds:6.0f} s: {totals.schedules} schedules, no failure", file=sys.stderr, flush=True)

    totals, failure, seconds = campaign(
        args.first_seed,
        args.random,
        jobs=args.jobs,
        minutes=args.minutes,
        shape=CHANGES if args.changes else args.shape,
        progress=progress,
    )
    print(
        f"{totals.schedules} schedules in {seconds:.1f} s: {totals.schedules / seconds:.0f} a second "
        f"with {args.jobs} processes"
    )
    print(totals)
    if failure is None:
        print("no promise was broken")
        return 0
    print(f"\nseed {failure.seed} FAILS", explain(failure), sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
