"""What a Serf agent says, as typed records: members, events, replies to queries and what the commands answer.

`parse_*` turn one decoded body into one record. Unknown keys are ignored, since newer agents may add some; a
missing key or a wrong type is a `SerfProtocolError`. Go's empty slices and maps arrive as nil and are `b""`,
`()` and `{}` here. Agents that predate msgpack's `bin` type send payloads as `str`; both become the same
`bytes`, whatever bytes they were. Messages and shapes are those of Serf's docs/agent/rpc.
"""

from __future__ import annotations

import socket

from polity_cli.core.record import Record
from polity_cli.errors import SerfError, SerfProtocolError, SerfRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class Member(Record):
    """One node as an agent sees it: `status` is alive, leaving, left or failed; `addr` an IP address."""

    name: str
    addr: str
    port: int
    tags: dict[str, str]
    status: str
    protocol_min: int
    protocol_max: int
    protocol_cur: int
    delegate_min: int
    delegate_max: int
    delegate_cur: int


class MemberEvent(Record):
    """Members that came, went or changed: `event` is member-join, -leave, -failed, -update or -reap."""

    event: str
    members: tuple[Member, ...]


class UserEvent(Record):
    name: str
    ltime: int
    payload: bytes
    coalesce: bool


class QueryEvent(Record):
    """A query somebody asks. `id` is for `respond` and means nothing on any other connection."""

    id: int
    name: str
    ltime: int
    payload: bytes


class Ack(Record):
    """`node` received the query. That is not an answer."""

    node: str


class Response(Record):
    node: str
    payload: bytes


class Done(Record):
    """The query's deadline has passed: no answer follows. Says nothing about who has answered."""


class KeyAnswer(Record):
    """Outcome of a key command: `messages` by node, and for list-keys how many nodes know each key."""

    messages: dict[str, str]
    keys: dict[str, int]
    num_nodes: int
    num_resp: int
    num_err: int


class Coordinate(Record):
    """A node's place in the network's latency space, in seconds (Serf's docs/internals/coordinates)."""

    vec: tuple[float, ...]
    error: float
    adjustment: float
    height: float


Event = MemberEvent | UserEvent | QueryEvent
QueryRecord = Ack | Response | Done


class SerfKeyError(SerfRequestError):
    """Some node refused a key command or stayed out; `answer` tells which, with its words."""

    def __init__(self, message: str, *, answer: KeyAnswer, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.answer = answer


class StreamClosed(SerfError):
    """This stream gives nothing more: it was stopped, or its query is done."""


class StreamOverflow(SerfError):
    """Records were dropped at this point because nobody read the stream; `dropped` counts them."""

    def __init__(self, message: str, *, dropped: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.dropped = dropped


def parse_members(body: object) -> tuple[Member, ...]:
    """The members in a `{"Members": [...]}` body, in the agent's order."""
    return tuple(map(_member, _optional(body, "Members", list) or []))


def parse_joined(body: object) -> int:
    return _field(body, "Num", int)


def parse_stats(body: object) -> dict[str, dict[str, str]]:
    """Sections of name and value; all values are text, numbers too."""
    if type(body) is not dict:
        raise _wrong("statistics", body, "a map")
    return {_typed("a section", key, str): _strings(key, value) for key, value in body.items()}


def parse_keys(body: object) -> KeyAnswer:
    keys = _optional(body, "Keys", dict) or {}
    return KeyAnswer(
        messages=_strings("Messages", _optional(body, "Messages", dict)),
        keys={_typed("a key", key, str): _typed(key, count, int) for key, count in keys.items()},
        num_nodes=_field(body, "NumNodes", int),
        num_resp=_field(body, "NumResp", int),
        num_err=_field(body, "NumErr", int),
    )


def parse_coordinate(body: object) -> Coordinate | None:
    """None if the agent has none for the node."""
    if not _field(body, "Ok", bool):
        return None
    coord = _field(body, "Coord", dict)
    return Coordinate(
        vec=tuple(_number("Vec", x) for x in _field(coord, "Vec", list)),
        error=_number("Error", coord.get("Error")),
        adjustment=_number("Adjustment", coord.get("Adjustment")),
        height=_number("Height", coord.get("Height")),
    )


def parse_event(body: object) -> Event:
    """One record of an event stream."""
    event = _field(body, "Event", str)
    if event == "query":
        return QueryEvent(
            id=_field(body, "ID", int),
            name=_field(body, "Name", str),
            ltime=_field(body, "LTime", int),
            payload=_payload(body),
        )
    if event == "user":
        return UserEvent(
            name=_field(body, "Name", str),
            ltime=_field(body, "LTime", int),
            payload=_payload(body),
            coalesce=_field(body, "Coalesce", bool),
        )
    if event.startswith("member-"):
        return MemberEvent(event=event, members=parse_members(body))
    raise SerfProtocolError(f"an event of unknown type {event!r}")


def parse_log(body: object) -> str:
    """One line of the agent's log."""
    return _field(body, "Log", str)


def parse_query_record(body: object) -> QueryRecord | None:
    """One record of a query; None for the bogus ones that an agent sends around the deadline, from nobody."""
    kind = _field(body, "Type", str)
    if kind == "done":
        return Done()
    if kind not in ("ack", "response"):
        raise SerfProtocolError(f"a query record of unknown type {kind!r}")
    node = _field(body, "From", str)
    if node == "":
        return None
    return Ack(node) if kind == "ack" else Response(node, _payload(body))


def _member(value: object) -> Member:
    return Member(
        name=_field(value, "Name", str),
        addr=_ip_text(_field_of(value, "Addr")),
        port=_field(value, "Port", int),
        tags=_strings("Tags", _optional(value, "Tags", dict)),
        status=_field(value, "Status", str),
        protocol_min=_field(value, "ProtocolMin", int),
        protocol_max=_field(value, "ProtocolMax", int),
        protocol_cur=_field(value, "ProtocolCur", int),
        delegate_min=_field(value, "DelegateMin", int),
        delegate_max=_field(value, "DelegateMax", int),
        delegate_cur=_field(value, "DelegateCur", int),
    )


def _ip_text(value: object) -> str:
    raw = _to_bytes("Addr", value)
    if len(raw) == 16 and raw[:12] == b"\0" * 10 + b"\xff\xff":
        raw = raw[12:]
    if len(raw) not in (4, 16):
        raise SerfProtocolError(f"an 'Addr' of {len(raw)} bytes, not 4 or 16")
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def _payload(body: object) -> bytes:
    return _to_bytes("Payload", _field_of(body, "Payload"))


def _to_bytes(key: str, value: object) -> bytes:
    if value is None:
        return b""
    if type(value) is bytes:
        return value
    if type(value) is str:
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            pass
    raise _wrong(key, value, "bytes")


def _strings(key: object, value: object) -> dict[str, str]:
    if value is None:
        return {}
    pairs = _typed(key, value, dict)
    return {_typed(key, name, str): _typed(name, text, str) for name, text in pairs.items()}


def _number(key: str, value: object) -> float:
    if type(value) is int or type(value) is float:
        return float(value)
    raise _wrong(key, value, "a number")


def _field_of(body: object, key: str) -> object:
    if type(body) is not dict:
        raise _wrong("a body", body, "a map")
    if key not in body:
        raise SerfProtocolError(f"{key!r} is missing in what the agent says")
    value: object = body[key]
    return value


def _field(body: object, key: str, kind: type[T]) -> T:
    return _typed(key, _field_of(body, key), kind)


def _optional(body: object, key: str, kind: type[T]) -> T | None:
    value = _field_of(body, key)
    return None if value is None else _typed(key, value, kind)


def _typed(key: object, value: object, kind: type[T]) -> T:
    # `is`, not isinstance: True is an int to isinstance, and msgpack makes no subclasses.
    if type(value) is kind:
        return value
    raise _wrong(key, value, kind.__name__)


def _wrong(key: object, value: object, expected: str) -> SerfProtocolError:
    return SerfProtocolError(
        f"{str(key)[:80]!r} is {type(value).__name__} in what the agent says, not {expected}"
    )
