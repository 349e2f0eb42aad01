"""Running one schedule, whatever its shape."""

from __future__ import annotations

from tests.judging.operation import Violation
from tests.simulation.chaos import Disks, Storm
from tests.simulation.courses import COURSES
from tests.simulation.upheaval import Upheaval


def storm_of(seed: int, shape: str, disks: Disks | None = None) -> Storm:
    """The schedule of this seed, not yet run; `shape` may be a course of changes of the electorate."""
    return Upheaval(seed, shape, disks) if shape in COURSES else Storm(seed, shape, disks)


def schedule(
    seed: int,
    shape: str,
    *,
    transcript: bool = False,
    disks: Disks | None = None,
) -> Storm:
    """Run one schedule and judge it. Raises Violation; returns it for those who want to look at it."""
    storm = storm_of(seed, shape, disks)
    if transcript:
        storm.witness.transcript = []
    try:
        storm.run()
    except Violation as violation:
        violation.add_note(f"replay: python -m tests.simulation {seed} {shape}")
        if storm.transcript is not None:
            violation.add_note("\n".join(storm.transcript))
        raise
    return storm
