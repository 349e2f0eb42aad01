"""A client for the RPC of a HashiCorp Serf agent: its 20 commands as methods with typed results.

The theory of the connection (who reads, whose answer is whose) is in `serf_conn`, the records are in
`serf_types`. Each method is one command of Serf's docs/agent/rpc; arguments are checked here because Serf
ignores a misspelt key and closes the connection over a wrong type, and whether they make sense is left to
the agent, whose words are raised.
"""

from __future__ import annotations

from time import monotonic

from polity_cli.edges import serf_types as types
from polity_cli.edges.serf_codec import (
    UINT64_MAX,
    check_bool,
    check_bytes,
    check_int,
    check_text,
    check_text_map,
    check_texts,
)
from polity_cli.edges.serf_conn import Connection, parse_address
from polity_cli.edges.serf_stream import parse_nothing, refusal
from polity_cli.edges.serf_types import SerfKeyError
from polity_cli.errors import BadInput, SerfUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, TypeVar

    from polity_cli.edges.serf_stream import Stream
    from polity_cli.edges.serf_types import Coordinate, Event, KeyAnswer, Member, QueryRecord
    from polity_cli.errors import SerfError

    S = TypeVar("S", bound=Stream[Any])

DEFAULT_ADDR = "127.0.0.1:7373"
DEFAULT_BUFFER_RECORDS = 4096

# Without a limit of ours Serf lets a query live 3.2 s per decimal digit of the number of nodes.
_LONGEST_DEFAULT_QUERY_S = 30.0


class SerfClient:
    """One connection to the Serf agent at `addr`, made by `connect` or by `with`. Several threads may use it.

    All methods raise SerfUnreachable when the agent or the connection is gone, SerfTimeout when an answer
    stays out for timeout_s, SerfAuthError when the agent wants a token or another one, SerfRequestError
    with the agent's own words when it refuses, SerfProtocolError when what it says is not Serf's RPC, and
    BadInput, before anything is sent, for an argument of the wrong type. After a time-out the agent may
    still do what it was asked.
    """

    def __init__(
        self,
        addr: str = DEFAULT_ADDR,
        *,
        auth_key: str | None = None,
        connect_timeout_s: float = 5.0,
        timeout_s: float = 10.0,
        buffer_records: int = DEFAULT_BUFFER_RECORDS,
    ) -> None:
        parse_address(addr)
        self.addr = addr
        self._auth_key = None if auth_key is None else check_text("auth_key", auth_key)
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._buffer_records = buffer_records
        self._conn: Connection | None = None

    @classmethod
    def connect(
        cls,
        addr: str = DEFAULT_ADDR,
        *,
        auth_key: str | None = None,
        connect_timeout_s: float = 5.0,
        timeout_s: float = 10.0,
        buffer_records: int = DEFAULT_BUFFER_RECORDS,
    ) -> SerfClient:
        """A client that has connected, shaken hands and shown its auth_key, if any, within connect_timeout_s.

        timeout_s limits each later call; buffer_records bounds what is kept of a stream that nobody reads.
        To look up a host name takes the system as long as it likes.
        """
        client = cls(
            addr,
            auth_key=auth_key,
            connect_timeout_s=connect_timeout_s,
            timeout_s=timeout_s,
            buffer_records=buffer_records,
        )
        return client.__enter__()

    def __enter__(self) -> SerfClient:
        if self._conn is None:
            deadline = monotonic() + self._connect_timeout_s
            self._conn = Connection(
                self.addr,
                connect_timeout_s=self._connect_timeout_s,
                timeout_s=self._timeout_s,
                buffer_records=self._buffer_records,
            )
            steps: list[tuple[str, dict[str, object]]] = [("handshake", {"Version": 1})]
            if self._auth_key is not None:
                steps.append(("auth", {"AuthKey": self._auth_key}))
            try:
                for command, request in steps:
                    self._conn.call(
                        command, request, parse_nothing, timeout_s=max(0.0, deadline - monotonic())
                    )
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and every call and stream on it. Never waits; Serf does not mind."""
        if self._conn is not None:
            self._conn.close()

    @property
    def closed(self) -> bool:
        """True while there is no connection, for whatever reason."""
        return self._conn is None or self._conn.closed

    def handshake(self, version: int = 1) -> None:
        """Name the protocol version. `connect` has done so, and a second one is refused."""
        self._tell("handshake", {"Version": check_int("version", version, -(2**31), 2**31 - 1)})

    def auth(self, auth_key: str) -> None:
        """Show the agent's token, as `connect` does when given one; raises SerfAuthError for a wrong one."""
        self._tell("auth", {"AuthKey": check_text("auth_key", auth_key)})

    def event(self, name: str, payload: bytes = b"", coalesce: bool = False) -> None:
        """Send a user event to the whole cluster (Serf's limit: 512 bytes encoded)."""
        request = {
            "Name": check_text("name", name),
            "Payload": check_bytes("payload", payload),
            "Coalesce": check_bool("coalesce", coalesce),
        }
        self._tell("event", request)

    def force_leave(self, node: str, prune: bool = False) -> None:
        """Turn a failed node into one that left, or with `prune` forget it."""
        self._tell("force-leave", {"Node": check_text("node", node), "Prune": check_bool("prune", prune)})

    def join(self, addresses: Iterable[str], replay: bool = False, *, timeout_s: float | None = None) -> int:
        """Join through the nodes at these gossip addresses: how many were reached; raises if none was.

        With `replay` the agent also delivers user events of before. One that does not answer can cost Serf
        10 s: give timeout_s when joining several.
        """
        request = {"Existing": check_texts("addresses", addresses), "Replay": check_bool("replay", replay)}
        return self._connection("join").call("join", request, types.parse_joined, timeout_s=timeout_s)

    def members(self) -> tuple[Member, ...]:
        """All nodes the agent knows, also failed ones and those that left."""
        return self._connection("members").call("members", None, types.parse_members)

    def members_filtered(
        self, *, name: str | None = None, status: str | None = None, tags: dict[str, str] | None = None
    ) -> tuple[Member, ...]:
        """The members that match all of these Go regular expressions.

        Serf puts `^` and `$` around each without grouping it: write `(a|b)`. Over one that it cannot
        compile it closes the connection without a word, which is SerfUnreachable here.
        """
        request: dict[str, object] = {"Tags": check_text_map("tags", tags)}
        if name is not None:
            request["Name"] = check_text("name", name)
        if status is not None:
            request["Status"] = check_text("status", status)
        return self._connection("members-filtered").call("members-filtered", request, types.parse_members)

    def tags(self, set_: dict[str, str] | None = None, delete: Iterable[str] = ()) -> None:
        """Change the agent's own tags; one that is both set and deleted is set."""
        self._tell(
            "tags", {"Tags": check_text_map("set_", set_), "DeleteTags": check_texts("delete", delete)}
        )

    def stream(self, events: str | Iterable[str] = "*") -> Stream[Event]:
        """Events from now on: all, or any of `member-join`, `user`, `user:NAME`, `query:NAME` and so on."""
        filters = events if isinstance(events, str) else ",".join(check_texts("events", events))
        return self._connection("stream").open("stream", {"Type": filters}, types.parse_event, None)

    def monitor(self, log_level: str = "INFO") -> Stream[str]:
        """The agent's log from this level on, recent lines first; one at a time per connection."""
        request = {"LogLevel": check_text("log_level", log_level)}
        return self._connection("monitor").open("monitor", request, types.parse_log, None)

    def stop(self, stream: Stream[Any]) -> None:
        """The same as `stream.stop()`."""
        stream.stop()

    def leave(self, *, timeout_s: float | None = None) -> None:
        """Make the agent leave its cluster and exit; the connection ends with it."""
        self._tell("leave", None, timeout_s)

    def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        filter_nodes: Iterable[str] = (),
        filter_tags: dict[str, str] | None = None,
        request_ack: bool = False,
        relay_factor: int = 0,
        timeout_s: float | None = None,
    ) -> Stream[QueryRecord]:
        """Ask the cluster: Ack and Response records as they come, and Done at the deadline, never before.

        timeout_s is the deadline that Serf sets for answers (None: Serf's own). filter_tags are Go regular
        expressions that may match anywhere in a tag. relay_factor (0 to 255) sends each answer back by that
        many more nodes.
        """
        request = {
            "FilterNodes": check_texts("filter_nodes", filter_nodes),
            "FilterTags": check_text_map("filter_tags", filter_tags),
            "RequestAck": check_bool("request_ack", request_ack),
            "RelayFactor": check_int("relay_factor", relay_factor, 0, 255),
            "Timeout": _nanoseconds(timeout_s),
            "Name": check_text("name", name),
            "Payload": check_bytes("payload", payload),
        }
        silence_s = self._timeout_s + (_LONGEST_DEFAULT_QUERY_S if timeout_s is None else timeout_s)
        return self._connection("query").open("query", request, types.parse_query_record, silence_s)

    def respond(self, query_id: int, payload: bytes) -> None:
        """Answer the QueryEvent with this `id`: once, before its deadline, on the connection it came by."""
        request = {
            "ID": check_int("query_id", query_id, 0, UINT64_MAX),
            "Payload": check_bytes("payload", payload),
        }
        self._tell("respond", request)

    def install_key(self, key: str, *, timeout_s: float | None = None) -> KeyAnswer:
        """Give all nodes one more encryption key (base64 of 16, 24 or 32 bytes).

        This and the next three raise SerfKeyError, whose `answer` has the nodes' words, unless all nodes
        did it.
        """
        return self._keys("install-key", {"Key": check_text("key", key)}, timeout_s)

    def use_key(self, key: str, *, timeout_s: float | None = None) -> KeyAnswer:
        """Make all nodes encrypt with this key, which they must have."""
        return self._keys("use-key", {"Key": check_text("key", key)}, timeout_s)

    def remove_key(self, key: str, *, timeout_s: float | None = None) -> KeyAnswer:
        """Take a key from all nodes; they refuse it for the one they encrypt with."""
        return self._keys("remove-key", {"Key": check_text("key", key)}, timeout_s)

    def list_keys(self, *, timeout_s: float | None = None) -> KeyAnswer:
        """Which keys there are, and how many nodes know each."""
        return self._keys("list-keys", None, timeout_s)

    def stats(self) -> dict[str, dict[str, str]]:
        """The agent's figures about itself, by section; all of them are text."""
        return self._connection("stats").call("stats", None, types.parse_stats)

    def get_coordinate(self, node: str) -> Coordinate | None:
        """The node's network coordinate, or None if the agent has none or does not know the node."""
        request = {"Node": check_text("node", node)}
        return self._connection("get-coordinate").call("get-coordinate", request, types.parse_coordinate)

    def wait_any(self, streams: Sequence[S], timeout_s: float | None) -> S | None:
        """The first of these streams on which `next` would not wait; None if there is none in time."""
        return self._connection("any of several streams").wait_any(streams, timeout_s)

    def _connection(self, command: str) -> Connection:
        if self._conn is None:
            raise SerfUnreachable(
                f"not connected to {self.addr} (asked for: {command})",
                hint="use SerfClient.connect(...) or `with SerfClient(...)`",
            )
        return self._conn

    def _tell(self, command: str, request: object, timeout_s: float | None = None) -> None:
        self._connection(command).call(command, request, parse_nothing, timeout_s=timeout_s)

    def _keys(self, command: str, request: object, timeout_s: float | None) -> KeyAnswer:
        conn = self._connection(command)
        return conn.call(command, request, types.parse_keys, timeout_s=timeout_s, refused=_key_error)


def _key_error(text: str, body: object) -> SerfError:
    if body is None:
        return refusal(text)
    answer = types.parse_keys(body)
    words = "; ".join(f"{node}: {message}" for node, message in sorted(answer.messages.items()))
    return SerfKeyError(text, answer=answer, hint=words)


def _nanoseconds(timeout_s: float | None) -> int:
    if timeout_s is None:
        return 0
    # Up to an hour. NaN fails the comparison; an int beyond 2^63 or a float would close the connection.
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= 3600:
        raise BadInput(f"timeout_s must be seconds, more than 0 and at most 3600, not {timeout_s!r}")
    return max(1, round(timeout_s * 1e9))
