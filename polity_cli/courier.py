"""Takes a sink's changes from the spool to it: those of one role in order, one at a time, again and again.

A change that cannot be delivered holds up those of its own role behind it and no others; it is tried again
after a pause that doubles each time, up to five minutes. Each sink has a courier in a thread of its own, so
that none waits for another.
"""

from __future__ import annotations

import os
import threading
from time import monotonic

from polity_cli.core.record import Record
from polity_cli.edges.sinks import Gone, Stopped, Undelivered
from polity_cli.errors import PolityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.edges.sinks import Sink
    from polity_cli.edges.spool import RoleChange, Spool

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0


class _Trouble(Record):
    """How often a role's change failed, and when it may be tried again."""

    failures: int
    due_s: float


class Courier(threading.Thread):
    """`stop` it by its event and `nudge`; `failure` is what ended it otherwise, `Gone` or a bug."""

    def __init__(
        self,
        sink: Sink,
        spool: Spool,
        *,
        stop: threading.Event,
        say: Callable[[str], None],
        first_retry_s: float = FIRST_RETRY_S,
        longest_retry_s: float = LONGEST_RETRY_S,
        draw: Callable[[], float] = lambda: int.from_bytes(os.urandom(4), "big") / 2**32,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(name=f"courier to {sink.name}", daemon=True)
        self.sink = sink
        self.failure: Exception | None = None
        self._spool = spool
        self._stop_asked = stop
        self._say = say
        self._first_retry_s = first_retry_s
        self._longest_retry_s = longest_retry_s
        self._draw = draw
        self._now_s = now_s
        self._troubles: dict[str, _Trouble] = {}

    def nudge(self) -> None:
        """Have it look whether it is to stop."""
        with self._spool.arrived:
            self._spool.arrived.notify_all()

    def run(self) -> None:
        try:
            while (change := self._next()) is not None:
                self._deliver(change)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - the last frame: a courier must not die unheard
            self.failure = error
            self._spool.drop(self.sink.name)
            if not isinstance(error, Gone):
                self._say(
                    f"{self.sink.name}: a bug: {type(error).__name__}: {error}. Nothing more goes there"
                )

    def _next(self) -> RoleChange | None:
        """The next change that is due, waiting for it; None if it is to stop."""
        with self._spool.arrived:
            while not self._stop_asked.is_set():
                now_s = self._now_s()
                due_s = float("inf")
                heads: set[str] = set()
                for change in self._spool.pending(self.sink.name):
                    if change.role in heads:
                        continue  # in order: what is before it has not been delivered
                    heads.add(change.role)
                    trouble = self._troubles.get(change.role)
                    if trouble is None or trouble.due_s <= now_s:
                        return change
                    due_s = min(due_s, trouble.due_s)
                self._spool.arrived.wait(None if due_s == float("inf") else due_s - now_s)
            return None

    def _deliver(self, change: RoleChange) -> None:
        try:
            self.sink.deliver(change)
        except Gone:
            raise
        except Undelivered as error:
            self._put_off(change, error)
            return
        failures = self._troubles.pop(change.role, _Trouble(0, 0.0)).failures
        if failures:
            self._say(f"{self._what(change)} is delivered, after {failures + 1} tries")
        try:
            self._spool.done(self.sink.name, change)
        except PolityError as error:
            self._say(f"{self._what(change)} is delivered, but {error}; after a restart it is repeated")

    def _put_off(self, change: RoleChange, error: Undelivered) -> None:
        before = self._troubles.get(change.role, _Trouble(0, 0.0)).failures
        pause_s = min(self._longest_retry_s, self._first_retry_s * 2 ** min(before, 30))
        # Who has many to serve must not be asked by all at the same instant, once it is back.
        pause_s *= 1.0 - self._draw() / 4
        self._troubles[change.role] = _Trouble(before + 1, self._now_s() + pause_s)
        failures = before + 1
        if failures & before == 0:  # the 1st, 2nd, 4th, 8th, ...: a long outage must not fill a log
            times = "" if failures == 1 else f" ({failures} times running)"
            self._say(
                f"{self._what(change)} is not delivered yet{times}: {error}; again in {pause_s:.3g} s, "
                f"then ever more rarely, up to {self._longest_retry_s:g} s"
            )

    def _what(self, change: RoleChange) -> str:
        return f"{self.sink.name}: {change.role} (term {change.term})"
