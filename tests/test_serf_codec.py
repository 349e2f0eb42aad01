"""Whatever bytes come, decoder, parsers and client give records or a SerfError, and nothing else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polity_cli.edges import serf_conn, serf_types
from polity_cli.edges.serf_codec import Decoder, encode, parse_header
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_types import UserEvent
from polity_cli.errors import BadInput, SerfError, SerfProtocolError, SerfUnreachable

KEYS = [
    *(
        "Seq",
        "Error",
        "Num",
        "Members",
        "Messages",
        "Keys",
        "NumNodes",
        "NumResp",
        "NumErr",
        "Coord",
        "Ok",
        "Vec",
    ),
    *("Adjustment", "Height", "Event", "ID", "Name", "LTime", "Payload", "Coalesce", "Log", "Type", "From"),
    *("Addr", "Port", "Tags", "Status", "ProtocolMin", "ProtocolMax", "ProtocolCur"),
    *("DelegateMin", "DelegateMax", "DelegateCur"),
]
WORDS = ["", "n1", "user", "query", "member-join", "ack", "response", "done", "alive"]

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=5)
    | st.binary(max_size=20)
    | st.sampled_from([b"\x7f\0\0\1", b"\0" * 16])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=12)
        | st.dictionaries(st.sampled_from(KEYS), inner, min_size=3)
    ),
    max_leaves=25,
)

PARSERS: list[Callable[[object], object]] = [
    serf_types.parse_members,
    serf_types.parse_joined,
    serf_types.parse_stats,
    serf_types.parse_keys,
    serf_types.parse_coordinate,
    serf_types.parse_event,
    serf_types.parse_log,
    serf_types.parse_query_record,
]


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    for start, end in pairwise(edges):
        yield data[start:end]


def decode(pieces: Iterator[bytes]) -> tuple[list[object], bool]:
    """The values, and whether the bytes were refused after them."""
    decoder, found = Decoder(), []
    try:
        for piece in pieces:
            for value in decoder.feed(piece):
                found.append(value)  # noqa: PERF402 - what came before an error counts
    except SerfProtocolError:
        return found, True
    return found, False


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x82\xa3Seq" + tail))
@settings(max_examples=1000)
def test_random_bytes_are_values_or_a_protocol_error(data: bytes) -> None:
    decode(iter([data]))


@given(st.lists(values.filter(lambda v: isinstance(v, dict)), max_size=4), st.lists(st.integers(0, 10_000)))
def test_values_come_out_as_they_went_in_however_they_are_cut(sent: list[Any], places: list[int]) -> None:
    data = encode(*sent)
    found, refused = decode(cut(data, places))
    assert not refused
    assert encode(*found) == data


@given(
    st.lists(st.fixed_dictionaries({"Seq": st.integers(0, 9), "Error": st.text(max_size=3)}), min_size=1),
    st.binary(min_size=1, max_size=100),
    st.lists(st.integers(0, 10_000)),
)
def test_garbage_after_good_values_costs_none_of_them(
    sent: list[Any], tail: bytes, places: list[int]
) -> None:
    data = encode(*sent) + tail
    found, _ = decode(iter([data]))
    assert found[: len(sent)] == sent
    assert decode(cut(data, places))[0][: len(sent)] == sent


@given(values)
def test_a_header_is_recognised_or_not_and_nothing_raised(value: object) -> None:
    header = parse_header(value)
    if header is not None:
        assert isinstance(value, dict)
        assert header == (value["Seq"], value["Error"])


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(value=values)
@settings(max_examples=300)
def test_parsers_give_a_record_or_a_protocol_error(parse: Callable[[object], object], value: object) -> None:
    with contextlib.suppress(SerfProtocolError):
        parse(value)


@given(st.binary(max_size=40))
def test_bytes_that_are_not_utf8_go_back_as_they_came(raw: bytes) -> None:
    text = next(Decoder().feed(b"\x81\xa1x\xd9" + bytes([len(raw)]) + raw))
    assert encode(text) == msgpack.packb(
        {"x": raw.decode("utf-8", "surrogateescape")}, unicode_errors="surrogateescape"
    )
    assert raw in encode(text)


@pytest.mark.parametrize("value", [2**64, object(), "\ud800"])
def test_what_msgpack_cannot_carry_is_bad_input(value: object) -> None:
    with pytest.raises(BadInput):
        encode(value)


# The whole client, over a socket whose other end says what hypothesis likes


@contextlib.contextmanager
def line() -> Iterator[tuple[SerfClient, socket.socket]]:
    """A connected client and the agent's end, which has said that the handshake is fine."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.sendall(encode({"Seq": 1, "Error": ""}))
    with pytest.MonkeyPatch.context() as patch, theirs:
        patch.setattr(serf_conn, "_dial", lambda addr, deadline: ours)
        with SerfClient(timeout_s=2.0) as client:
            yield client, theirs


headers = st.fixed_dictionaries({"Seq": st.integers(1, 4), "Error": st.sampled_from(["", "", "no"])})
chatter = st.lists(headers | headers | values, max_size=12)


@given(chatter, st.binary(max_size=10), st.lists(st.integers(0, 10_000), max_size=4))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_an_agent_says_the_client_ends_in_a_result_or_a_serf_error(
    said: list[Any], tail: bytes, places: list[int]
) -> None:
    with line() as (client, theirs):
        for piece in cut(encode(*said) + tail, places):
            theirs.sendall(piece)
        theirs.shutdown(socket.SHUT_WR)
        asks: list[Callable[[], object]] = [
            lambda: list(client.query("q", timeout_s=1.0)),
            lambda: list(client.stream()),
            client.list_keys,
        ]
        for ask in asks:
            with contextlib.suppress(SerfError):
                ask()
        # The end of the file comes after all of it, so there is never a wait for a time limit.
        with pytest.raises((SerfUnreachable, SerfProtocolError)):
            client.members()


@given(
    st.lists(
        st.sampled_from(["a", "b", "stopped", "late with body", "late without", "refused"]), max_size=30
    ),
    st.lists(st.integers(0, 10_000), max_size=6),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_records_reach_their_owner_and_orphans_nobody(order: list[str], places: list[int]) -> None:
    with line() as (client, theirs):

        def say(*said: object) -> None:
            theirs.sendall(encode(*said))

        streams = []
        for seq in (2, 3, 4):
            say({"Seq": seq, "Error": ""})
            streams.append(client.stream())
        stopped, a, b = streams
        say({"Seq": 5, "Error": ""})
        stopped.stop()
        owners = {"a": 3, "b": 4, "stopped": 2, "late with body": 77, "late without": 78, "refused": 79}
        sent = []
        for number, kind in enumerate(order):
            error = "no" if kind == "refused" else ""
            sent.append({"Seq": owners[kind], "Error": error})
            if kind not in ("late without", "refused"):
                event = {"Event": "user", "LTime": number, "Name": kind, "Payload": b"", "Coalesce": False}
                sent.append(event)
        for piece in cut(encode(*sent), places):
            theirs.sendall(piece)
        for stream, name in ((a, "a"), (b, "b")):
            for number in (number for number, kind in enumerate(order) if kind == name):
                assert stream.next(5.0) == UserEvent(name, number, b"", False)
            assert stream.next(0.0) is None
        assert not client.closed
