"""Who waits on a Serf connection: calls, which get one answer, and streams, which get many records.

The connection (`serf_conn`) gives each of them the headers and bodies that carry its `Seq`, in order and
under its lock. `take_header` says whether a body follows, which depends on the command alone:

    a body if it went well                   members, members-filtered, stats, get-coordinate
    a body in any case                       join, install-key, use-key, remove-key, list-keys
    afterwards, any number of header + body  stream, monitor, query
    never a body                             all others

The exceptions are refusals that the agent utters before it looks at the command: they are bare.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from polity_cli.edges.serf_types import Done, StreamClosed, StreamOverflow
from polity_cli.errors import (
    SerfAuthError,
    SerfError,
    SerfProtocolError,
    SerfRequestError,
    SerfTimeout,
    SerfUnreachable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Condition
    from typing import Generic, Protocol, TypeVar

    T = TypeVar("T")
    R = TypeVar("R")

    class Connection(Protocol):
        """What a stream needs of `serf_conn.Connection`, the room above."""

        lock: Condition
        buffer_records: int

        @property
        def closed(self) -> bool: ...
        def pump(self, ready: Callable[[], bool], deadline: float | None) -> None: ...
        def call(self, command: str, request: object, parse: Callable[[object], R]) -> R: ...
        def disown(self, seq: int) -> None: ...
        def death(self, command: str) -> SerfError: ...
        def timed_out(self, command: str, timeout_s: float) -> SerfTimeout: ...

else:

    class Generic:
        def __class_getitem__(cls, item):
            return cls

    T = None

KEY_COMMANDS = ("install-key", "use-key", "remove-key", "list-keys")
_BODY_WITH_ERROR = ("join", *KEY_COMMANDS)
_BODY = ("members", "members-filtered", "stats", "get-coordinate", *_BODY_WITH_ERROR)
_AUTH_ERRORS = ("Authentication required", "Invalid authentication token")
# Said before the command is looked at, so without its body.
_BARE_ERRORS = ("Authentication required", "Handshake required", "Unsupported command")
_AUTH_HINT = (
    "the agent's rpc_auth token goes into a file named by --rpc-auth-file, or into SERF_RPC_AUTH; "
    "an agent that has none refuses any"
)


class Stream(Generic[T]):
    """Records of one stream, monitor or query, in order. Made by a client's methods; any thread may read it.

    Iterating ends when the stream is stopped, and after the `Done` of a query. `with` stops it at the end.
    """

    def __init__(
        self, conn: Connection, command: str, parse: Callable[[object], T | None], silence_s: float | None
    ) -> None:
        self.command = command
        self.conn = conn
        self._parse = parse
        self._silence_s = silence_s
        self.seq = 0
        self._records: deque[T] = deque()
        self._dropped = 0
        self.answered = False
        self._closed = False
        self.failure: SerfError | None = None

    @property
    def closed(self) -> bool:
        """True once nothing more will arrive; records that arrived before can still be read."""
        return self._closed or self.failure is not None or self.conn.closed

    def next(self, timeout_s: float | None) -> T | None:
        """The next record, waiting up to timeout_s seconds (None: for ever); None if there is none yet.

        Raises StreamClosed after the last one, StreamOverflow once where records were dropped (and then goes
        on), SerfProtocolError for a record that is not Serf's, SerfUnreachable when the connection is gone.
        """
        self.conn.pump(self.ready, None if timeout_s is None else monotonic() + timeout_s)
        with self.conn.lock:
            if self._records:
                return self._records.popleft()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                raise StreamOverflow(
                    f"{dropped} records of this {self.command} were dropped here: nobody read them in time",
                    dropped=dropped,
                    hint="read it more often, or raise the client's buffer_records",
                )
            if self.failure is not None:
                raise self.failure
            if self._closed:
                raise StreamClosed(f"this {self.command} has ended")
            if self.conn.closed:
                raise self.conn.death(self.command)
            return None

    def stop(self) -> None:
        """End the stream and drop what was not read; does nothing if it has ended or the connection is gone.

        A query cannot be stopped in Serf: its answers are ignored from here on. An agent that is handing out
        an event just then, slowly because it runs event handlers, may panic over the end of an event stream.
        """
        with self.conn.lock:
            live = not self.closed
            self._closed = True
            self._records.clear()
            self._dropped = 0
            self.conn.disown(self.seq)
        if live and self.command != "query":
            try:
                self.conn.call("stop", {"Stop": self.seq}, parse_nothing)
            except SerfUnreachable:
                return  # it went with the connection

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        """The next record; a query raises SerfTimeout when not even Done comes long after its deadline."""
        try:
            record = self.next(self._silence_s)
        except StreamClosed:
            raise StopIteration from None
        if record is None:
            raise self.conn.timed_out(self.command, self._silence_s or 0.0)
        return record

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # The rest is for the connection, which holds its lock.

    def ready(self) -> bool:
        return bool(self._records or self._dropped or self._closed or self.failure)

    def take_header(self, error: str) -> bool:
        first, self.answered = not self.answered, True
        if error:
            self._fail(refusal(error))
        return not first and not error

    def take_body(self, body: object) -> None:
        if self._closed or self.failure:
            return
        try:
            record = self._parse(body)
        except SerfProtocolError as error:
            self._fail(error)
            return
        if record is None:
            return
        if isinstance(record, Done):
            self._closed = True
            self.conn.disown(self.seq)
        elif self._dropped or len(self._records) >= self.conn.buffer_records:
            self._dropped += 1  # and so on until the reader has been told, so that the gap is where it says
            return
        self._records.append(record)

    def _fail(self, error: SerfError) -> None:
        self.failure = error
        self.conn.disown(self.seq)


class Call:
    """One request that waits for its one answer."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.error = ""
        self.body: object = None
        self.seq = 0
        self.answered = False

    def take_header(self, error: str) -> bool:
        self.error = error
        if error:
            more = self.command in _BODY_WITH_ERROR and error not in _BARE_ERRORS
        else:
            more = self.command in _BODY
        self.answered = not more
        return more

    def take_body(self, body: object) -> None:
        self.body = body
        self.answered = True


def parse_nothing(body: object) -> None:
    """For commands whose answer has no body."""


def refusal(text: str) -> SerfError:
    """The agent's own words as an error."""
    if text in _AUTH_ERRORS:
        return SerfAuthError(text, hint=_AUTH_HINT)
    return SerfRequestError(text)
