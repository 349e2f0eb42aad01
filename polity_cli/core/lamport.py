"""An interval of Lamport times (Lamport, Time, Clocks, 1978), as Serf stamps its events with them.

Serf's Lamport times order what one agent has seen; they fall back when an agent restarts. They are good
for putting events in a window, never for deciding who holds a role: that is what ballots and terms are for.
"""

from __future__ import annotations


class LamportWindow:
    """A closed interval of times, empty at first. Not thread-safe."""

    __slots__ = ("first", "last")

    def __init__(self, *times: int) -> None:
        self.first: int | None = None
        self.last: int | None = None
        for time in times:
            self.witness(time)

    def witness(self, time: int) -> None:
        """Grow the window, in either direction, just enough to hold `time`."""
        self.first = time if self.first is None else min(self.first, time)
        self.last = time if self.last is None else max(self.last, time)

    def before(self, time: int) -> bool:
        """True if `time` lies before the window; nothing lies before an empty one."""
        return self.first is not None and time < self.first

    def after(self, time: int) -> bool:
        """True if `time` lies after the window; nothing lies after an empty one."""
        return self.last is not None and time > self.last

    def __contains__(self, time: int) -> bool:
        return self.first is not None and not self.before(time) and not self.after(time)

    def __repr__(self) -> str:
        return f"LamportWindow({'' if self.first is None else f'{self.first}, {self.last}'})"
