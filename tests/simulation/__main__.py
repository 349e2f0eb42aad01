"""`python -m tests.simulation SEED SHAPE` replays one schedule and prints what happened in it.

`python -m tests.simulation FIRST SHAPE COUNT` runs many, stops at the first that breaks a promise and
says how many it ran in a second of one core.
"""

from __future__ import annotations

import sys
import time

from tests.simulation.chaos import schedule
from tests.simulation.judge import Violation
from tests.simulation.world import SHAPES


def main(seed: str, shape: str, count: str = "1") -> int:
    if shape not in SHAPES:
        print(f"the shapes are {', '.join(SHAPES)}", file=sys.stderr)
        return 2
    first, many = int(seed), int(count)
    began = time.process_time()
    for at in range(first, first + many):
        try:
            world = schedule(at, shape, transcript=many == 1)
        except Violation as violation:
            print(f"seed {at}: {violation}", *getattr(violation, "__notes__", ()), sep="\n")
            return 1
        if many == 1:
            print("\n".join(world.transcript or ()))
    if many > 1:
        rate = many / (time.process_time() - began)
        print(f"{many} schedules of shape {shape}: {rate:.0f} in a second of one core")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
