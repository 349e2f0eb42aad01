"""One connection to a Serf agent: requests out, and each answer and record to the one who waits for it.

One TCP connection carries everything, told apart by `Seq`, which is never used twice here. An answer is a
header and perhaps a body, which the owner of the `Seq` knows (`serf_stream`).

An agent that has not seen its token refuses with a header alone, whatever the command. It then takes the
request's body, which it has not read, for another request and refuses that with the same `Seq`. This, what
comes for a call that ran out of time, and the rest of a stopped stream are orphans: their `Seq` has no owner.
Whether a body follows an orphan shows in the next value, as no body looks like a header; either way it goes
to nobody.

There is no thread. Whoever waits reads the socket, one at a time, and hands what comes to its owner; others
who wait at the same time wait for the reader and take over when it leaves. So nothing is read while nobody
waits, and what a reader finds for somebody else's stream is kept for it, up to a bound.

Every wait has a deadline on the monotonic clock. A call that runs out of time leaves the connection usable.
A request that could not be sent in full, an end of file, and words that are not Serf's end it for all.
"""

from __future__ import annotations

import select
import socket
import threading
from time import monotonic

from polity_cli.edges.serf_codec import Decoder, check_text, encode, parse_header
from polity_cli.edges.serf_stream import Call, Stream, refusal
from polity_cli.errors import (
    BadInput,
    SerfAuthError,
    SerfError,
    SerfProtocolError,
    SerfRequestError,
    SerfTimeout,
    SerfUnreachable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    R = TypeVar("R")
    S = TypeVar("S", bound=Stream[Any])

_GOOD_ADDRESS = "an RPC address is HOST:PORT, such as 127.0.0.1:7373, [::1]:7373 or serf.example.org:7373"
_NOT_SERF_HINT = (
    "is this the address of Serf's RPC (port 7373 by default), not of its gossip or of another server?"
)


def parse_address(text: str) -> tuple[str, int]:
    """Host (IPv6 without its brackets) and port; raises BadInput whose hint shows what a good address is."""
    text = check_text("an RPC address", text)
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
        good = _is_ipv6(host)
    else:
        host, _, port = text.rpartition(":")
        good = bool(host) and not any(c in ":/[]@" or c.isspace() or not c.isprintable() for c in host)
    if good and port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535:
        return host, int(port)
    raise BadInput(f"{text!r} is no RPC address", hint=_GOOD_ADDRESS)


class Connection:
    """A TCP connection to `addr`, made within connect_timeout_s; the handshake is the client's. Thread-safe.

    timeout_s limits each call that has no limit of its own; buffer_records are kept of an unread stream.
    Raises BadInput for a bad address and SerfUnreachable if nobody listens there.
    """

    def __init__(self, addr: str, *, connect_timeout_s: float, timeout_s: float, buffer_records: int) -> None:
        self.addr = addr
        self.timeout_s = timeout_s
        self.buffer_records = buffer_records
        self.lock = threading.Condition()
        self._write_lock = threading.Lock()
        self._decoder = Decoder()
        self._seq = 0
        self._owners: dict[int, Call | Stream[Any]] = {}
        self._body_owner: Call | Stream[Any] | None = None
        self._after_orphan = False
        self._dead: tuple[type[SerfError], str] | None = None
        self._pumping = False
        self._writing = False
        self._sock = _dial(addr, monotonic() + connect_timeout_s)
        self._readable = select.poll()
        self._readable.register(self._sock, select.POLLIN)

    @property
    def closed(self) -> bool:
        return self._dead is not None

    def close(self) -> None:
        """End the connection and all calls and streams on it. Never waits: a signal handler may call it."""
        self._die(SerfUnreachable, f"the connection to the Serf agent at {self.addr} was closed here")

    def call(
        self,
        command: str,
        request: object,
        parse: Callable[[object], R],
        *,
        timeout_s: float | None = None,
        refused: Callable[[str, object], SerfError] | None = None,
    ) -> R:
        """What `parse` makes of the answer's body (None if it has none), after at most timeout_s seconds.

        The agent's error is raised as `refused(text, body)`, by default SerfRequestError or SerfAuthError.
        """
        call = Call(command)
        try:
            self._ask(call, request, timeout_s)
        except (SerfUnreachable, SerfTimeout):
            if not call.error:
                raise
            # It has said why, only the body that goes with it stays out.
        if call.error:
            raise refused(call.error, call.body) if refused and call.answered else refusal(call.error)
        try:
            return parse(call.body)
        except SerfProtocolError as error:
            raise SerfProtocolError(f"{command}: {error}", hint=_NOT_SERF_HINT) from None

    def open(
        self, command: str, request: object, parse: Callable[[object], R | None], silence_s: float | None
    ) -> Stream[R]:
        """A stream that the agent has agreed to; iterating it gives up after silence_s (None: never)."""
        stream: Stream[R] = Stream(self, command, parse, silence_s)
        self._ask(stream, request, None)
        if isinstance(stream.failure, SerfRequestError | SerfAuthError):
            raise stream.failure
        return stream

    def wait_any(self, streams: Sequence[S], timeout_s: float | None) -> S | None:
        """The first of these streams on which `next` would not wait; None if there is none in time."""
        if any(stream.conn is not self for stream in streams):
            raise BadInput("wait_any takes streams of this client only")

        def ready() -> bool:
            return any(stream.ready() for stream in streams)

        self.pump(ready, None if timeout_s is None else monotonic() + timeout_s)
        with self.lock:
            return next((stream for stream in streams if stream.ready() or self.closed), None)

    def disown(self, seq: int) -> None:
        """From here on whatever comes with this Seq is an orphan. The caller holds the lock."""
        self._owners.pop(seq, None)
        self.lock.notify_all()

    def death(self, command: str) -> SerfError:
        """Why the connection is gone, as a new error for one who was at `command`."""
        assert self._dead is not None
        kind, text = self._dead
        if kind is SerfProtocolError:
            hint = _NOT_SERF_HINT
        elif command == "members-filtered":
            hint = "Serf does this when it cannot compile a regular expression: check name, status and tags"
        else:
            hint = _unreachable_hint(self.addr)
        return kind(f"{text} (asked for: {command})", hint=hint)

    def timed_out(self, command: str, timeout_s: float) -> SerfTimeout:
        return SerfTimeout(
            f"the Serf agent at {self.addr} did not answer within {timeout_s:.3g} s (asked for: {command})",
            hint="it may be paused or busy, may still do it, or may not be Serf: " + _NOT_SERF_HINT,
        )

    def pump(self, ready: Callable[[], bool], deadline: float | None) -> None:
        """Read until `ready()`, asked under the lock, or the deadline, or the connection's end.

        Looks at the socket at least once, even if the deadline has passed.
        """
        looked = False
        with self.lock:
            while not ready() and self._dead is None:
                left_s = None if deadline is None else deadline - monotonic()
                late = left_s is not None and left_s <= 0
                if late and (looked or self._pumping):
                    return
                if self._pumping:
                    self.lock.wait(left_s)
                    continue
                looked = True
                self._pumping = True
                self.lock.release()
                try:
                    data = self._receive(left_s)
                finally:
                    self.lock.acquire()
                    self._pumping = False
                    self.lock.notify_all()
                    self._release()
                if data is not None:
                    self._take(data)

    def _ask(self, owner: Call | Stream[Any], request: object, timeout_s: float | None) -> None:
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        deadline = monotonic() + timeout_s
        with self.lock:
            self._seq += 1
            owner.seq = self._seq
        header = {"Command": owner.command, "Seq": owner.seq}
        data = encode(header) if request is None else encode(header, request)
        answered = False
        with self.lock:
            if self._dead is not None:
                raise self.death(owner.command)
            self._owners[owner.seq] = owner
        try:
            self._send(data, deadline, owner.command, timeout_s)
            self.pump(lambda: owner.answered, deadline)
            with self.lock:
                answered = owner.answered
                if not answered:
                    dead = self._dead is not None
                    raise self.death(owner.command) if dead else self.timed_out(owner.command, timeout_s)
        finally:
            if not answered or isinstance(owner, Call):
                with self.lock:
                    self.disown(owner.seq)

    def _send(self, data: bytes, deadline: float, command: str, timeout_s: float) -> None:
        if not self._write_lock.acquire(timeout=max(0.0, deadline - monotonic())):
            raise self.timed_out(command, timeout_s)
        try:
            with self.lock:
                if self._dead is not None:
                    raise self.death(command)
                self._writing = True
            writable = select.poll()
            writable.register(self._sock, select.POLLOUT)
            rest = memoryview(data)
            while rest:
                if not writable.poll(_milliseconds(max(0.0, deadline - monotonic()))):
                    if len(rest) < len(data):  # half a request is out: nothing can follow it
                        self._die(SerfTimeout, f"the Serf agent at {self.addr} stopped reading")
                    raise self.timed_out(command, timeout_s)
                try:
                    rest = rest[self._sock.send(rest) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._die(SerfUnreachable, self._went_away(error))
                    raise self.death(command) from None
        finally:
            with self.lock:
                self._writing = False
                self._release()
            self._write_lock.release()

    def _receive(self, left_s: float | None) -> bytes | None:
        if not self._readable.poll(None if left_s is None else _milliseconds(max(0.0, left_s))):
            return None
        try:
            data = self._sock.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError as error:
            self._die(SerfUnreachable, self._went_away(error))
            return None
        if not data:
            self._die(SerfUnreachable, self._went_away(None))
        return data

    def _take(self, data: bytes) -> None:
        try:
            for value in self._decoder.feed(data):
                self._take_value(value)
        except SerfProtocolError as error:
            self._die(SerfProtocolError, f"what answers at {self.addr} is {error}")

    def _take_value(self, value: object) -> None:
        header = parse_header(value)
        owner, self._body_owner = self._body_owner, None
        orphan, self._after_orphan = self._after_orphan, False
        if header is None:
            if owner is not None:
                owner.take_body(value)
            elif not orphan:
                raise SerfProtocolError(f"not Serf's RPC: {type(value).__name__} where a header belongs")
            return
        seq, error = header
        if owner is not None:
            # An error that we take for one with a body and that has none is still an error.
            if not (isinstance(owner, Call) and owner.error):
                raise SerfProtocolError("not Serf's RPC: a header where a body belongs")
            owner.answered = True
        heir = self._owners.get(seq)
        if heir is None:
            self._after_orphan = True
        elif heir.take_header(error):
            self._body_owner = heir

    def _went_away(self, error: OSError | None) -> str:
        detail = f": {error.strerror}" if error is not None and error.strerror else ""
        return f"the Serf agent at {self.addr} closed the connection{detail}"

    def _die(self, kind: type[SerfError], text: str) -> None:
        with self.lock:
            if self._dead is None:
                self._dead = (kind, text)
                self._owners.clear()
                self.lock.notify_all()
                self._hang_up()
                self._release()

    def _hang_up(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes whoever polls
        except OSError:
            return  # it was gone already

    def _release(self) -> None:
        # Not while somebody polls: the descriptor's number could go to another file meanwhile.
        if self._dead is not None and not self._pumping and not self._writing:
            self._sock.close()


def _dial(addr: str, deadline: float) -> socket.socket:
    host, port = parse_address(addr)
    hint = _unreachable_hint(addr)
    try:
        # As bytes, because for text the system's lookup loads the codec for international names.
        name = host.encode("ascii") if host.isascii() else host.encode("idna")
        places = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise BadInput(f"{addr!r} is no RPC address", hint=_GOOD_ADDRESS) from None
    except OSError as error:
        raise SerfUnreachable(f"{host!r}: {error.strerror or error}", hint=hint) from None
    reason = "no address"
    for family, kind, proto, _, place in places:
        sock = None
        try:
            sock = socket.socket(family, kind, proto)
            sock.settimeout(max(0.001, deadline - monotonic()))
            sock.connect(place)
            # On loopback a connection to a port nobody listens on can by chance meet itself.
            if sock.getsockname() != sock.getpeername():
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.setblocking(False)
                return sock
            reason = "connection refused"
        except TimeoutError:
            reason = "no answer in time"
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        if sock is not None:
            sock.close()
    raise SerfUnreachable(f"no Serf agent answers at {addr}: {reason}", hint=hint)


def _unreachable_hint(addr: str) -> str:
    return (
        f"does the agent run? `serf info -rpc-addr={addr}` tells; if it listens elsewhere than at {addr}, "
        "say so with --rpc-addr or SERF_RPC_ADDR"
    )


def _is_ipv6(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def _milliseconds(left_s: float) -> int:
    # Rounded up, or the last fraction of a millisecond would be spent spinning; no poll takes over 24 days.
    return int(-(-min(left_s, 86_400.0) * 1000 // 1))
