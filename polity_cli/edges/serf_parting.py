"""Hanging up on a Serf agent whose events one has been streaming, without killing it.

An agent hands each event to its handlers, one after the other, from a list that it takes before the first.
A client that streams is such a handler, and all scripts together are another. If a client hangs up while a
script runs that comes before it in the list, and the event is of a kind it asked for, the agent then
sends to a closed channel, and panics (seen with Serf 0.9.4: `ipc_event_stream.go`, `HandleEvent`).

A client that comes before the scripts is safe at the moment at which an event reaches it, because then the
scripts run, and when they end the next list is taken, without it. So:

- The order is found out by asking one's own node a question that a script answers: if its answer is there
  when the question reaches our stream, scripts come first.
- The order is drawn anew whenever a handler comes or goes. A stream that filters everything out is one, and
  it may go at any time: nothing is ever sent to it. Go starts to walk a small map (of up to 8) in a slot
  drawn by chance and goes round, so the more of them came between the scripts and our stream, the
  likelier we are before the scripts: 6 to 2 with five of them.

A script that answers no questions cannot be told from none. Nothing helps a listener that is killed.
"""

from __future__ import annotations

import os
from time import monotonic

from polity_cli.core.ballot import ID_BYTES
from polity_cli.core.messages import Fetch
from polity_cli.edges import wire
from polity_cli.edges.serf_types import QueryEvent, Response, StreamClosed
from polity_cli.errors import SerfTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.edges.serf_rpc import SerfClient
    from polity_cli.edges.serf_stream import Stream
    from polity_cli.edges.serf_types import Event, QueryRecord

_BLANKS = 5
# Nobody sends such an event; if somebody did, a blank would only be no better than no blank.
_NOTHING = "user:polity-parting-blank"

# A process takes longer to start, let alone to answer; an answer that is there already takes less.
_SCRIPTS_START_S = 0.004

_ASK_AGAIN_S = 1.0
PATIENCE_S = 10.0


def prepare(client: SerfClient) -> SerfClient:
    """Make it likely that streams opened after this come before the agent's scripts; returns the client.

    Closes it if it raises a SerfError.
    """
    try:
        for _ in range(_BLANKS):
            client.stream(_NOTHING)
    except BaseException:
        client.close()
        raise
    return client


class Parting:
    """A client's way to the moment at which it may close its connection.

    `namespace` is the query name that the client streams and that the voters answer to; `node` is the
    node of its agent. To be told of every event from the beginning on; gives up after PATIENCE_S.
    """

    def __init__(self, client: SerfClient, namespace: str, node: str) -> None:
        self.client = client
        self._namespace = namespace
        self._node = node
        self._deadline = monotonic() + PATIENCE_S
        self._blank: Stream[Event] | None = None
        self._answers: Stream[QueryRecord] | None = None
        self._question = b""
        self._asked_s = float("-inf")

    def is_question(self, event: Event | None) -> bool:
        """True for the question asked here, which nobody but a script must answer."""
        return self._answers is not None and isinstance(event, QueryEvent) and event.payload == self._question

    def is_over(self, event: Event | None) -> bool:
        """True if the connection is to be closed at this very instant; `event` is what has just come, if any.

        Raises SerfUnreachable if it is closed already.
        """
        try:
            if self._answers is not None and self.is_question(event):
                if not isinstance(self._answers.next(_SCRIPTS_START_S), Response):
                    return True
                self._draw_order()
                self._ask()
            elif monotonic() >= self._asked_s + _ASK_AGAIN_S:
                self._ask()
        except (SerfTimeout, StreamClosed):
            return True  # an agent that answers nobody is past helping
        return monotonic() >= self._deadline

    def _ask(self) -> None:
        self._question = wire.encode(Fetch(os.urandom(ID_BYTES), b"", 0))
        self._asked_s = monotonic()
        self._answers = self.client.query(
            self._namespace, self._question, filter_nodes=[self._node], timeout_s=PATIENCE_S
        )

    def _draw_order(self) -> None:
        if self._blank is not None:
            self._blank.stop()
        self._blank = self.client.stream(_NOTHING)
