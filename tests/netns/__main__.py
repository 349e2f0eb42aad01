"""`python -m tests.netns --minutes N --seed S`: storm after storm, each on a new cluster, a line about each.

Ends with 0 when the time is up, and with 1 at the first storm whose answers cannot all be true, or that got
stuck; then everything that is known about it is printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from polity_cli.errors import PolityError
from tests.netns.field import Field
from tests.netns.space import obstacle
from tests.netns.storm import storm

# Sizes with and without a fast quorum that differs from the classic one, and both kinds of voters.
KINDS = ((5, "agent"), (3, "agent"), (5, "hook"), (7, "agent"), (4, "agent"), (6, "agent"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.netns")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attacks", type=int, default=44, help="how many in a storm")
    given = parser.parse_args()
    reason = obstacle()
    if reason is not None:
        print(f"not here: {reason}", file=sys.stderr)
        return 1
    total: Counter[str] = Counter()
    deadline = time.monotonic() + given.minutes * 60
    seed, storms = given.seed, 0
    while time.monotonic() < deadline:
        size, voters = KINDS[seed % len(KINDS)]
        title = f"seed {seed}, {size} nodes, {voters}"
        with Field.started(size, voters, title) as field:
            try:
                founded = field.cluster["n1"].polity("found", "--expect", str(size), "--wait")
                assert founded.returncode == 0, founded
                storm(field, seed=seed, attacks=given.attacks, longest_s=2.5 if seed % 3 else 12.0)
            except (AssertionError, RuntimeError, PolityError, TimeoutError) as error:
                print(field.record.summary(), flush=True)
                print(field.evidence(), file=sys.stderr)
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                print(f"again, in the same weather: --seed {seed} --attacks {given.attacks}", file=sys.stderr)
                return 1
            print(field.record.summary(), flush=True)
            total.update(field.record.outcomes)
        seed, storms = seed + 1, storms + 1
    told = ", ".join(f"{count} {word}" for word, count in sorted(total.items()))
    print(f"{storms} storms, {sum(total.values())} operations: {told}; all linearizable")
    return 0


if __name__ == "__main__":
    sys.exit(main())
