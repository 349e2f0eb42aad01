"""Following a Serf agent's events for as long as it takes, through restarts of the agent.

A listener that must outlive its agent (`polity agent`) hears events while it is connected and tries again,
ever more rarely, while it is not. What happened in between is lost, as are events beyond the agent's own
buffer of 512, so whoever follows must read what matters from time to time: for that there is a tick in
every silence.
"""

from __future__ import annotations

from polity_cli.core.record import Record
from polity_cli.edges.serf_types import StreamOverflow
from polity_cli.errors import SerfProtocolError, SerfTimeout, SerfUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from polity_cli.edges.serf_rpc import SerfClient
    from polity_cli.edges.serf_types import Event
    from polity_cli.errors import SerfError


class Change(Record):
    """Connected, or not and trying again in retry_s seconds; `error` says why not, or what was missed."""

    connected: bool
    error: SerfError | None
    retry_s: float


def follow(
    connect: Callable[[], SerfClient],
    events: str | Iterable[str] = "*",
    *,
    wait: Callable[[float], bool],
    draw: Callable[[], float],
    on_change: Callable[[Change], None] = lambda change: None,
    first_retry_s: float = 0.1,
    longest_retry_s: float = 5.0,
    tick_s: float = 0.25,
) -> Generator[tuple[SerfClient, Event | None], None, None]:
    """Each event with the client it came by, whose `respond` answers it; None after tick_s of silence.

    Ends when `wait`, which waits so many seconds or for a sign to stop (as `threading.Event().wait` does),
    says True; that takes up to tick_s. Retries come after first_retry_s, twice that, and so on up to
    longest_retry_s, each shortened by up to a half by `draw` (0 <= draw() < 1). Lost connections, time-outs
    and nonsense from the other side are told to `on_change` and retried; SerfAuthError, SerfRequestError (a
    bad event filter) and BadInput are raised. What is done with the client between two events may meet
    SerfUnreachable: catch it and go on.
    """
    filters = [events] if isinstance(events, str) else list(events)
    failures = 0
    while not wait(0.0):
        try:
            with connect() as client:
                stream = client.stream(filters)
                on_change(Change(True, None, 0.0))
                while not wait(0.0):
                    try:
                        event = stream.next(tick_s)
                    except StreamOverflow as gap:
                        on_change(Change(True, gap, 0.0))
                        continue
                    failures = 0  # not when it connects: an agent that dies at once must not be pestered
                    yield client, event
        except (SerfUnreachable, SerfTimeout, SerfProtocolError) as error:
            retry_s = min(longest_retry_s, first_retry_s * 2 ** min(failures, 30)) * (1.0 - draw() / 2)
            failures += 1
            on_change(Change(False, error, retry_s))
            if wait(retry_s):
                return
