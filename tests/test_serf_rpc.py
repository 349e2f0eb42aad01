"""The RPC client against scripted servers on loopback, which say what the test wants, byte by byte."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest

from polity_cli.edges import serf_conn
from polity_cli.edges.serf_conn import parse_address
from polity_cli.edges.serf_follow import Change, follow
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_stream import Stream
from polity_cli.edges.serf_types import (
    Ack,
    Coordinate,
    Done,
    KeyAnswer,
    MemberEvent,
    QueryEvent,
    Response,
    SerfKeyError,
    StreamClosed,
    StreamOverflow,
    UserEvent,
)
from polity_cli.errors import (
    BadInput,
    SerfAuthError,
    SerfError,
    SerfProtocolError,
    SerfRequestError,
    SerfTimeout,
    SerfUnreachable,
)

LIMIT_S = 10.0
WITHOUT_BODY = ("members", "leave", "list-keys", "stats")

MEMBER = {
    "Name": "n1",
    "Addr": b"\x7f\0\0\1",
    "Port": 7946,
    "Tags": {"role": "db"},
    "Status": "alive",
    "ProtocolMin": 1,
    "ProtocolMax": 5,
    "ProtocolCur": 2,
    "DelegateMin": 2,
    "DelegateMax": 5,
    "DelegateCur": 4,
}
USER = {"Event": "user", "LTime": 3, "Name": "deploy", "Payload": b"v1", "Coalesce": True}
DONE = {"Type": "done", "From": "", "Payload": None}


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._unpacker = msgpack.Unpacker(raw=False, unicode_errors="surrogateescape")

    def value(self) -> Any:
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError from None
                self._unpacker.feed(data)

    def request(self) -> tuple[str, int, Any]:
        header = self.value()
        assert set(header) == {"Command", "Seq"}
        body = None if header["Command"] in WITHOUT_BODY else self.value()
        return header["Command"], header["Seq"], body

    def expect(self, command: str) -> tuple[int, Any]:
        asked, seq, body = self.request()
        assert asked == command
        return seq, body

    def say(self, *values: object) -> None:
        self.sock.sendall(b"".join(msgpack.packb(v, unicode_errors="surrogateescape") for v in values))

    def answer(self, seq: int, *bodies: object, error: str = "") -> None:
        self.say({"Seq": seq, "Error": error}, *bodies)

    def handshake(self) -> None:
        seq, body = self.expect("handshake")
        assert body == {"Version": 1}
        self.answer(seq)

    def until_closed(self) -> None:
        """Read on, as an agent does; returns when the client hangs up."""
        while self.sock.recv(65536):
            pass


class Server:
    """Runs one script per connection, in order; a failed assertion in a script fails the test."""

    def __init__(self, *scripts: Callable[[Peer], None], shake: bool) -> None:
        self._scripts = scripts
        self._shake = shake
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT_S)
        self.failure: BaseException | None = None
        self.addr = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for script in self._scripts:
                sock, _ = self._listener.accept()
                with sock:
                    sock.settimeout(LIMIT_S)
                    peer = Peer(sock)
                    if self._shake:
                        peer.handshake()
                    script(peer)
        except (EOFError, ConnectionError):
            pass  # the client hung up, which is its right
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's thread
            self.failure = error

    def finish(self) -> None:
        self._thread.join(LIMIT_S)
        self._listener.close()
        assert not self._thread.is_alive(), "the scripted server has not come to its end"
        if self.failure is not None:
            raise self.failure


@contextmanager
def server(*scripts: Callable[[Peer], None], shake: bool = True) -> Iterator[str]:
    running = Server(*scripts, shake=shake)
    yield running.addr
    running.finish()


@contextmanager
def agent(script: Callable[[Peer], None], **options: Any) -> Iterator[SerfClient]:
    """A client connected to a server that shakes hands and then follows the script."""
    with server(script) as addr, SerfClient.connect(addr, **{"timeout_s": LIMIT_S, **options}) as client:
        yield client


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def take(value: object) -> None:
    """So that a lambda may be a script."""


def read_all(stream: Stream[Any]) -> list[Any]:
    return list(stream)


# Addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7373", "127.0.0.1", 7373),
        ("[::1]:7373", "::1", 7373),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("serf.example.org:65535", "serf.example.org", 65535),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", ":7373", "localhost", "localhost:", "localhost:http", "localhost:0", "localhost:65536",
        "localhost:-1", "localhost:٣", "localhost: 73", "::1:7373", "::1", "[::1]", "[::1]7373", "[]:7373",
        "[127.0.0.1]:7373", "[nonsense]:7373", "http://localhost:7373", "user@host:1", "a b:7373", "a\n:7373",
        "a\0:7373", "[::1\0]:7373", "x" * 70 + "ü:7373",
    ],
)  # fmt: skip
def test_a_bad_address_is_refused_with_a_good_one_as_the_hint(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        SerfClient.connect(text)
    assert "127.0.0.1:7373" in caught.value.hint
    assert "[::1]:7373" in caught.value.hint


def test_an_ipv6_address_is_connected_to() -> None:
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                peer = Peer(sock)
                peer.handshake()
                peer.until_closed()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with SerfClient(f"[::1]:{listener.getsockname()[1]}") as client:
            assert not client.closed
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_a_host_name_is_tried_at_all_its_addresses() -> None:
    # localhost is ::1 first on many systems, where the scripted server does not listen.
    with server(Peer.until_closed) as addr:
        SerfClient.connect("localhost:" + addr.rpartition(":")[2]).close()


def test_an_unknown_host_is_unreachable() -> None:
    with pytest.raises(SerfUnreachable, match=r"no-such-host\.invalid"):
        SerfClient.connect("no-such-host.invalid:7373")


# Connecting


def test_where_nobody_listens_the_error_names_the_address_and_what_to_set() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addr = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(SerfUnreachable, match=f"{addr}: connection refused") as caught:
        SerfClient.connect(addr)
    for word in (addr, "--rpc-addr", "SERF_RPC_ADDR", "serf info"):
        assert word in caught.value.hint


def test_a_connection_that_meets_itself_counts_as_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "getsockname", lambda self: ("127.0.0.1", 7373))
    monkeypatch.setattr(socket.socket, "getpeername", lambda self: ("127.0.0.1", 7373))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = socket.getnameinfo(super(socket.socket, listener).getsockname(), socket.NI_NUMERICSERV)[1]
        with pytest.raises(SerfUnreachable, match="connection refused"):
            SerfClient.connect(f"127.0.0.1:{port}")


def test_connecting_shakes_hands_and_shows_the_token() -> None:
    def script(peer: Peer) -> None:
        seq, body = peer.expect("auth")
        assert body == {"AuthKey": "tökén"}
        peer.answer(seq)
        peer.until_closed()

    with agent(script, auth_key="tökén") as client:
        assert not client.closed
    assert client.closed


def test_a_wrong_token_is_an_auth_error_that_says_where_the_token_goes() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("auth")[0], error="Invalid authentication token")
        peer.until_closed()

    with (
        server(script) as addr,
        pytest.raises(SerfAuthError, match=r"^Invalid authentication token$") as caught,
    ):
        SerfClient.connect(addr, auth_key="wrong")
    assert "--rpc-auth-file" in caught.value.hint
    assert "SERF_RPC_AUTH" in caught.value.hint


def test_an_old_version_of_the_protocol_is_the_agents_own_words() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("handshake")[0], error="Unsupported IPC version")

    with (
        server(script, shake=False) as addr,
        pytest.raises(SerfRequestError, match=r"^Unsupported IPC version$"),
    ):
        SerfClient.connect(addr)


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",  # a TLS alert
        b"220 mail.example.org ESMTP\r\n",
        b"\xdb\xff\xff\xff\xff",  # msgpack: a text of 4 GB
        b"\xdf\xff\xff\xff\xff",  # a map of 4 billion entries
        b"\x81\xa3Seq\xdd\x00\x02\x00\x00",  # a list of 131,072 items
        b"\x81\xa3Seq" + b"\x91" * 5000,  # nested lists
        b"\x81\xa3Seq" + b"\x81\xa1a" * 5000,
        b"\x81\xa3Seq" + b"\xdc\xff\xff" * 5000,  # nested lists, each with room for 65,535 items
        b"\x81\x90\x01",  # a list as a key
        b"\x81\xc1\x01",  # a byte that msgpack never uses
        b"\x80",
        b"\x82\xa3Seq\x01\xa5Error\xc0",
        b"\x82\xa3Seq\xa11\xa5Error\xa0",
        b"\x82\xa3Seq\xff\xa5Error\xa0",
        b"\x81\xa3Seq\x01",
        b"\x81\xa1x\xd7\xff" + b"\xff" * 8,  # a time stamp out of range
    ],
)
def test_a_server_that_is_not_serf_is_told_at_once(greeting: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.sock.sendall(greeting)
        peer.until_closed()

    started = time.monotonic()
    with (
        server(script, shake=False) as addr,
        pytest.raises(SerfProtocolError, match="not Serf's RPC") as caught,
    ):
        SerfClient.connect(addr, connect_timeout_s=LIMIT_S)
    assert time.monotonic() - started < LIMIT_S / 2
    assert addr in str(caught.value)
    assert "7373" in caught.value.hint


def test_a_server_that_promises_gigabytes_is_a_time_out() -> None:
    def script(peer: Peer) -> None:
        peer.sock.sendall(b"\x81\xa3Seq\xc6\xff\xff\xff\xff")
        peer.until_closed()

    with server(script, shake=False) as addr, pytest.raises(SerfTimeout):
        SerfClient.connect(addr, connect_timeout_s=0.1)


def test_a_server_that_sends_without_end_is_told_before_it_costs_memory() -> None:
    sent = 0

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.sock.sendall(b"\x81\xa3Seq\xc6\xff\xff\xff\xff")
        while True:  # until the client hangs up
            sent += peer.sock.send(bytes(1 << 20))

    with server(script, shake=False) as addr, pytest.raises(SerfProtocolError, match="undecodable"):
        SerfClient.connect(addr, connect_timeout_s=LIMIT_S)
    assert sent < 64 << 20


def test_a_silent_server_is_a_time_out_that_says_what_was_asked() -> None:
    with (
        server(Peer.until_closed, shake=False) as addr,
        pytest.raises(SerfTimeout, match=rf"{addr} .* \(asked for: handshake\)"),
    ):
        SerfClient.connect(addr, connect_timeout_s=0.1)


def test_a_server_that_drips_bytes_does_not_prolong_the_deadline() -> None:
    def script(peer: Peer) -> None:
        peer.sock.sendall(b"\x81\xd9\xff")
        while True:  # until the client hangs up
            peer.sock.sendall(b"x")
            time.sleep(0.01)

    started = time.monotonic()
    with server(script, shake=False) as addr, pytest.raises(SerfTimeout):
        SerfClient.connect(addr, connect_timeout_s=0.3)
    assert 0.25 < time.monotonic() - started < 2


def test_closing_in_the_middle_of_the_handshake_is_unreachable() -> None:
    with (
        server(lambda peer: None, shake=False) as addr,
        pytest.raises(SerfUnreachable, match=r"closed the connection.* \(asked for: handshake\)"),
    ):
        SerfClient.connect(addr)


def test_a_client_that_never_connected_says_how_to() -> None:
    with pytest.raises(SerfUnreachable, match="asked for: stats") as caught:
        SerfClient().stats()
    assert "SerfClient.connect" in caught.value.hint


# Framing


def test_every_split_of_the_answer_into_segments_gives_the_same_members() -> None:
    answer = msgpack.packb({"Seq": 2, "Error": ""}) + msgpack.packb({"Members": [MEMBER]})

    for cut in range(1, len(answer)):

        def script(peer: Peer, cut: int = cut) -> None:
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            assert peer.expect("members")[0] == 2
            peer.sock.sendall(answer[:cut])
            peer.sock.sendall(answer[cut:])

        with agent(script) as client:
            (member,) = client.members()
            assert (member.name, member.addr, member.port, member.tags) == (
                "n1",
                "127.0.0.1",
                7946,
                {"role": "db"},
            )


def test_an_answer_byte_by_byte_is_understood() -> None:
    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seq, _ = peer.expect("stats")
        for byte in msgpack.packb({"Seq": seq, "Error": ""}) + msgpack.packb({"serf": {"members": "3"}}):
            peer.sock.sendall(bytes([byte]))

    with agent(script) as client:
        assert client.stats() == {"serf": {"members": "3"}}


def test_records_in_the_segment_of_the_reply_header_are_not_lost() -> None:
    def script(peer: Peer) -> None:
        seq, _ = peer.expect("query")
        header = {"Seq": seq, "Error": ""}
        peer.say(header, header, {"Type": "ack", "From": "n1", "Payload": None}, header, DONE)
        peer.until_closed()

    with agent(script) as client:
        assert read_all(client.query("q")) == [Ack("n1"), Done()]


def test_a_body_that_a_command_never_has_is_refused() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("event")[0], {"Num": 1})
        seq, _ = peer.expect("members")
        peer.answer(seq, {"Members": []})

    with agent(script) as client:
        client.event("deploy")
        with pytest.raises(SerfProtocolError, match="dict where a header belongs"):
            client.members()
        assert client.closed


def test_a_header_where_a_body_belongs_is_refused() -> None:
    def script(peer: Peer) -> None:
        seq, _ = peer.expect("members")
        peer.answer(seq)
        peer.answer(seq)
        peer.until_closed()

    with agent(script) as client, pytest.raises(SerfProtocolError, match="a header where a body belongs"):
        client.members()


def test_a_body_out_of_nowhere_is_refused() -> None:
    def script(peer: Peer) -> None:
        peer.expect("leave")
        peer.say({"Num": 1})
        peer.until_closed()

    with agent(script) as client, pytest.raises(SerfProtocolError, match=r"asked for: leave"):
        client.leave()


# Answers and errors


def test_join_gives_the_number_in_its_body() -> None:
    def script(peer: Peer) -> None:
        seq, body = peer.expect("join")
        assert body == {"Existing": ["10.0.0.1:7946"], "Replay": True}
        peer.answer(seq, {"Num": 1, "Later": "addition"})

    with agent(script) as client:
        assert client.join(["10.0.0.1:7946"], replay=True) == 1


def test_join_reads_the_body_that_comes_with_its_error() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("join")[0], {"Num": 0}, error="1 error occurred:\n\t* no route\n\n")
        peer.answer(peer.expect("stats")[0], {})

    with agent(script) as client:
        with pytest.raises(SerfRequestError) as caught:
            client.join(["10.0.0.1:7946"])
        assert str(caught.value) == "1 error occurred:\n\t* no route\n\n"
        assert client.stats() == {}


def test_an_error_whose_body_stays_out_is_still_the_error() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("join")[0], error="no such thing here")
        peer.answer(peer.expect("stats")[0], {"agent": {}})
        peer.answer(peer.expect("list-keys")[0], error="going down")

    with agent(script) as client:
        with pytest.raises(SerfRequestError, match=r"^no such thing here$"):
            client.join(["10.0.0.1:7946"], timeout_s=0.1)
        assert client.stats() == {"agent": {}}
        with pytest.raises(SerfRequestError, match=r"^going down$"):
            client.list_keys()


def test_a_doubled_refusal_does_not_reach_the_next_call() -> None:
    def script(peer: Peer) -> None:
        for command in ("members-filtered", "join", "query", "stream", "event"):
            seq, _ = peer.expect(command)
            peer.answer(seq, error="Authentication required")
            peer.answer(seq, error="Authentication required")
        peer.answer(peer.expect("list-keys")[0], error="Authentication required")
        peer.answer(peer.expect("auth")[0])
        peer.answer(peer.expect("stats")[0], {"agent": {"name": "n1"}})

    with agent(script) as client:
        asks: list[Callable[[], object]] = [
            lambda: client.members_filtered(name="n1"),
            lambda: client.join(["n2"]),
            lambda: client.query("q"),
            client.stream,
            lambda: client.event("e"),
            client.list_keys,
        ]
        for ask in asks:
            with pytest.raises(SerfAuthError, match=r"^Authentication required$"):
                ask()
        client.auth("token")
        assert client.stats() == {"agent": {"name": "n1"}}


def test_an_unsupported_command_is_told_before_the_connection_ends() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("get-coordinate")[0], error="Unsupported command")

    with agent(script) as client:
        with pytest.raises(SerfRequestError, match=r"^Unsupported command$"):
            client.get_coordinate("n1")
        with pytest.raises(SerfUnreachable):
            client.members()


def test_closing_without_a_word_says_what_was_asked() -> None:
    with (
        agent(lambda peer: take(peer.expect("members-filtered"))) as client,
        pytest.raises(SerfUnreachable, match=r"closed the connection.*asked for: members-filtered") as caught,
    ):
        client.members_filtered(name="(")
    assert "regular expression" in caught.value.hint


def test_a_reset_connection_says_so() -> None:
    def script(peer: Peer) -> None:
        peer.expect("stats")
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with agent(script) as client, pytest.raises(SerfUnreachable, match=r"[Rr]eset.*asked for: stats"):
        client.stats()


def test_a_late_answer_goes_to_nobody_and_the_connection_stays() -> None:
    def script(peer: Peer) -> None:
        late = [peer.expect(command)[0] for command in ("members", "event", "join")]
        seq, _ = peer.expect("stats")
        peer.answer(late[2], {"Num": 9}, error="too late")
        peer.answer(late[0], {"Members": [MEMBER]})
        peer.answer(late[1])
        peer.answer(seq, {"agent": {"name": "n1"}})

    with agent(script, timeout_s=0.05) as client:
        with pytest.raises(SerfTimeout, match="asked for: members"):
            client.members()
        with pytest.raises(SerfTimeout, match="asked for: event"):
            client.event("e")
        with pytest.raises(SerfTimeout, match="asked for: join"):
            client.join(["x"])
        conn = client._connection("test")
        conn.timeout_s = LIMIT_S
        assert client.stats() == {"agent": {"name": "n1"}}
        assert conn._owners == {}, "whoever gave up or is served would be kept for ever"


def test_a_peer_that_stops_reading_is_a_time_out_and_ends_the_connection() -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        assert release.wait(LIMIT_S)

    with agent(script, timeout_s=0.2) as client:
        with pytest.raises(SerfTimeout, match="asked for: event"):
            client.event("big", b"x" * 16_000_000)
        with pytest.raises(SerfTimeout, match=r"stopped reading \(asked for: stats\)"):
            client.stats()
        release.set()


def test_key_commands_carry_every_nodes_words_in_their_error() -> None:
    body = {"Messages": {"n2": "no such key"}, "Keys": None, "NumNodes": 3, "NumResp": 2, "NumErr": 1}

    def script(peer: Peer) -> None:
        seq, asked = peer.expect("use-key")
        assert asked == {"Key": "c2VjcmV0"}
        peer.answer(seq, body, error="1/3 nodes reported failure")
        peer.answer(peer.expect("list-keys")[0], {**body, "Keys": {"c2VjcmV0": 3}, "NumErr": 0})

    with agent(script) as client:
        with pytest.raises(SerfKeyError, match=r"^1/3 nodes reported failure$") as caught:
            client.use_key("c2VjcmV0")
        assert caught.value.answer == KeyAnswer({"n2": "no such key"}, {}, num_nodes=3, num_resp=2, num_err=1)
        assert "n2: no such key" in caught.value.hint
        assert client.list_keys().keys == {"c2VjcmV0": 3}


def test_requests_have_serfs_own_keys() -> None:
    asked: list[tuple[str, Any]] = []

    def script(peer: Peer) -> None:
        for _ in range(9):
            command, seq, body = peer.request()
            asked.append((command, body))
            keys = {"Messages": None, "Keys": None, "NumNodes": 0, "NumResp": 0, "NumErr": 0}
            bodies: dict[str, object] = {
                "members-filtered": {"Members": None},
                "get-coordinate": {"Ok": False, "Coord": None},
                "install-key": keys,
                "remove-key": keys,
            }
            peer.answer(seq, *([bodies[command]] if command in bodies else []))

    with agent(script) as client:
        client.event("deploy", b"\xff\0", coalesce=True)
        client.force_leave("n9", prune=True)
        assert client.members_filtered(status="alive", tags={"a": "b"}) == ()
        client.tags({"a": "1"}, delete=["b"])
        client.respond(2**64 - 1, b"yes")
        assert client.get_coordinate("n9") is None
        client.install_key("a2V5")
        client.remove_key("a2V5")
        client.query(
            "q",
            b"p",
            filter_nodes=["n1"],
            filter_tags={"r": "x"},
            request_ack=True,
            relay_factor=3,
            timeout_s=0.5,
        )
    assert asked == [
        ("event", {"Name": "deploy", "Payload": b"\xff\0", "Coalesce": True}),
        ("force-leave", {"Node": "n9", "Prune": True}),
        ("members-filtered", {"Status": "alive", "Tags": {"a": "b"}}),
        ("tags", {"Tags": {"a": "1"}, "DeleteTags": ["b"]}),
        ("respond", {"ID": 2**64 - 1, "Payload": b"yes"}),
        ("get-coordinate", {"Node": "n9"}),
        ("install-key", {"Key": "a2V5"}),
        ("remove-key", {"Key": "a2V5"}),
        (
            "query",
            {
                "FilterNodes": ["n1"],
                "FilterTags": {"r": "x"},
                "RequestAck": True,
                "RelayFactor": 3,
                "Timeout": 500_000_000,
                "Name": "q",
                "Payload": b"p",
            },
        ),
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.event("e", "text"),
        lambda c: c.event(b"e"),
        lambda c: c.event("e", b"", 1),
        lambda c: c.join("10.0.0.1"),
        lambda c: c.join([1]),
        lambda c: c.join(None),
        lambda c: c.tags({"a": 1}),
        lambda c: c.tags(["a"]),
        lambda c: c.members_filtered(name=1),
        lambda c: c.query("q", b"", timeout_s=0),
        lambda c: c.query("q", b"", timeout_s=-1.0),
        lambda c: c.query("q", b"", timeout_s=float("nan")),
        lambda c: c.query("q", b"", timeout_s=float("inf")),
        lambda c: c.query("q", b"", timeout_s=True),
        lambda c: c.query("q", b"", relay_factor=256),
        lambda c: c.query("q", b"", relay_factor=True),
        lambda c: c.respond(-1, b""),
        lambda c: c.respond(2**64, b""),
        lambda c: c.respond(1.0, b""),
        lambda c: c.handshake(2**31),
        lambda c: c.auth(None),
        lambda c: c.force_leave("\ud800"),  # a lone surrogate that stands for no byte
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_sent(ask: Callable[[Any], object]) -> None:
    def script(peer: Peer) -> None:
        assert peer.sock.recv(1) == b"", "something was sent"

    with agent(script) as client, pytest.raises(BadInput):
        ask(client)


# What is in the answers


def members_from(*members: dict[str, Any]) -> tuple[Any, ...]:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("members")[0], {"Members": list(members)})

    with agent(script) as client:
        return client.members()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x0a\0\0\1", "10.0.0.1"),
        (b"\0" * 10 + b"\xff\xff\x0a\0\0\1", "10.0.0.1"),
        (b"\0" * 15 + b"\1", "::1"),
        (b"\x20\1\x0d\xb8" + b"\0" * 11 + b"\1", "2001:db8::1"),
        ("\x7f\0\0\1", "127.0.0.1"),
        (b"\x0a\xff\xfe\1".decode("utf-8", "surrogateescape"), "10.255.254.1"),
    ],
)
def test_an_address_of_4_or_16_bytes_becomes_text(raw: object, text: str) -> None:
    assert members_from({**MEMBER, "Addr": raw})[0].addr == text


def test_unknown_keys_are_ignored_and_nil_tags_are_none() -> None:
    (member,) = members_from({**MEMBER, "Tags": None, "Shoe": {"size": [43]}})
    assert member.tags == {}


def test_bytes_that_are_not_utf8_survive_there_and_back() -> None:
    name = b"n\xff\xfe".decode("utf-8", "surrogateescape")

    def script(peer: Peer) -> None:
        peer.answer(peer.expect("members")[0], {"Members": [{**MEMBER, "Name": name}]})
        seq, body = peer.expect("force-leave")
        assert body["Node"] == name
        peer.answer(seq)

    with agent(script) as client:
        client.force_leave(client.members()[0].name)


@pytest.mark.parametrize("key", sorted(MEMBER))
def test_a_member_that_lacks_a_key_is_refused(key: str) -> None:
    with pytest.raises(SerfProtocolError, match=f"^members: '{key}' is missing"):
        members_from({k: v for k, v in MEMBER.items() if k != key})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Name", b"n1"),
        ("Name", None),
        ("Addr", b"\1\2\3"),
        ("Addr", None),
        ("Addr", 1),
        ("Port", "7946"),
        ("Port", True),
        ("Tags", []),
        ("Tags", {"a": 1}),
        ("Tags", {1: "a"}),
        ("Status", 1),
        ("DelegateCur", 4.0),
    ],
)
def test_a_member_with_a_value_of_the_wrong_type_is_refused(key: str, value: object) -> None:
    with pytest.raises(SerfProtocolError, match=r"^members: "):
        members_from({**MEMBER, key: value})


def test_a_coordinate_has_its_numbers() -> None:
    coord = {"Vec": [0.5, 1, -2.0], "Error": 1.5, "Adjustment": 0, "Height": 1e-5}

    def script(peer: Peer) -> None:
        peer.answer(peer.expect("get-coordinate")[0], {"Coord": coord, "Ok": True})
        peer.answer(peer.expect("get-coordinate")[0], {"Coord": {**coord, "Error": "big"}, "Ok": True})

    with agent(script) as client:
        assert client.get_coordinate("n1") == Coordinate((0.5, 1.0, -2.0), 1.5, 0.0, 1e-5)
        with pytest.raises(SerfProtocolError, match="get-coordinate: 'Error'"):
            client.get_coordinate("n1")


@pytest.mark.parametrize("body", [[], {"agent": "n1"}, {"agent": {"name": 1}}, {1: {}}])
def test_statistics_of_another_shape_are_refused(body: object) -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("stats")[0], body)

    with agent(script) as client, pytest.raises(SerfProtocolError, match=r"^stats: "):
        client.stats()


# Streams


def test_events_arrive_as_records_of_their_kind() -> None:
    def script(peer: Peer) -> None:
        seq, body = peer.expect("stream")
        assert body == {"Type": "user:deploy,query"}
        peer.answer(seq)
        peer.answer(seq, USER)
        peer.answer(seq, {"Event": "query", "ID": 7, "LTime": 9, "Name": "load", "Payload": None})
        peer.answer(seq, {"Event": "member-join", "Members": [MEMBER]})
        peer.answer(peer.expect("stop")[0])

    with agent(script) as client, client.stream(["user:deploy", "query"]) as stream:
        user, query, joined = (stream.next(LIMIT_S) for _ in range(3))
    assert user == UserEvent("deploy", 3, b"v1", True)
    assert query == QueryEvent(7, "load", 9, b"")
    assert isinstance(joined, MemberEvent)
    assert joined.event == "member-join"
    assert joined.members[0].name == "n1"


def test_nothing_yet_is_none_and_a_stopped_stream_is_something_else() -> None:
    def script(peer: Peer) -> None:
        stream_seq, _ = peer.expect("stream")
        peer.answer(stream_seq)
        seq, body = peer.expect("stop")
        assert body == {"Stop": stream_seq}
        peer.answer(seq)
        peer.until_closed()

    with agent(script) as client:
        stream = client.stream()
        assert stream.next(0.0) is None
        assert stream.next(0.02) is None
        assert [stream.closed] == [False]
        client.stop(stream)
        stream.stop()  # once more is nothing
        assert [stream.closed] == [True]
        with pytest.raises(StreamClosed):
            stream.next(1.0)
        assert list(stream) == []


def test_a_look_without_waiting_finds_what_has_arrived() -> None:
    def script(peer: Peer) -> None:
        seq, _ = peer.expect("stream")
        peer.answer(seq)
        peer.answer(seq, USER)
        peer.until_closed()

    with agent(script) as client:
        stream = client.stream()
        until(lambda: stream.next(0.0) is not None, "the event")


def test_what_still_comes_for_a_stopped_stream_reaches_nobody() -> None:
    def script(peer: Peer) -> None:
        old, _ = peer.expect("stream")
        peer.answer(old)
        seq, _ = peer.expect("stop")
        peer.answer(old, USER)
        peer.answer(seq)
        new, _ = peer.expect("stream")
        peer.answer(old, USER)
        peer.answer(new)
        peer.answer(old, USER)
        peer.answer(new, {**USER, "Name": "new"})
        peer.answer(old, USER)
        peer.until_closed()

    with agent(script) as client:
        old = client.stream()
        old.stop()
        new = client.stream()
        event = new.next(LIMIT_S)
        assert isinstance(event, UserEvent)
        assert event.name == "new"
        assert new.next(0.05) is None
        with pytest.raises(StreamClosed):
            old.next(0.0)


def test_two_streams_and_a_call_share_one_connection_without_mixing() -> None:
    def script(peer: Peer) -> None:
        first, _ = peer.expect("stream")
        peer.answer(first)
        second, _ = peer.expect("monitor")
        peer.answer(second)
        seq, _ = peer.expect("stats")
        peer.answer(second, {"Log": "one"})
        peer.answer(first, USER)
        peer.answer(second, {"Log": "two"})
        peer.answer(seq, {"agent": {}})
        peer.until_closed()

    with agent(script) as client:
        events, log = client.stream(), client.monitor("debug")
        assert client.stats() == {"agent": {}}
        assert log.next(LIMIT_S) == "one"
        assert isinstance(events.next(LIMIT_S), UserEvent)
        assert log.next(LIMIT_S) == "two"


@pytest.mark.parametrize("text", ["Invalid event filter", "Stream with given sequence exists"])
def test_a_refused_stream_raises_and_leaves_the_connection_usable(text: str) -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("stream")[0], error=text)
        peer.answer(peer.expect("stats")[0], {})

    with agent(script) as client:
        with pytest.raises(SerfRequestError, match=rf"^{text}$"):
            client.stream("nonsense")
        assert client.stats() == {}


def test_a_record_of_another_shape_fails_its_stream_and_no_other() -> None:
    def script(peer: Peer) -> None:
        bad, _ = peer.expect("stream")
        peer.answer(bad)
        good, _ = peer.expect("monitor")
        peer.answer(good)
        peer.answer(bad, USER)
        peer.answer(bad, {"Event": "earthquake"})
        peer.answer(good, {"Log": "line"})
        peer.until_closed()

    with agent(script) as client:
        bad, good = client.stream(), client.monitor()
        assert good.next(LIMIT_S) == "line"
        assert isinstance(bad.next(0.0), UserEvent)
        with pytest.raises(SerfProtocolError, match="earthquake"):
            bad.next(0.0)
        assert bad.closed
        assert not good.closed


def test_a_stream_that_nobody_reads_keeps_its_bound_and_tells_where_the_gap_is() -> None:
    def script(peer: Peer) -> None:
        stream, _ = peer.expect("monitor")
        peer.answer(stream)
        for number in range(5):
            peer.answer(stream, {"Log": str(number)})
        peer.answer(peer.expect("stats")[0], {})
        peer.expect("stats")
        peer.answer(stream, {"Log": "after"})
        peer.until_closed()

    with agent(script, buffer_records=2) as client:
        log = client.monitor()
        client.stats()
        assert [log.next(0.0), log.next(0.0)] == ["0", "1"]
        with pytest.raises(StreamOverflow, match="3 records") as caught:
            log.next(0.0)
        assert caught.value.dropped == 3
        assert log.next(0.0) is None
        with pytest.raises(SerfTimeout):
            client._connection("test").call("stats", None, lambda body: None, timeout_s=0.05)
        assert log.next(LIMIT_S) == "after"


def test_when_the_agent_dies_its_streams_give_what_came_and_then_raise() -> None:
    def script(peer: Peer) -> None:
        seq, _ = peer.expect("stream")
        peer.answer(seq)
        peer.answer(seq, USER)

    with agent(script) as client:
        stream = client.stream()
        assert isinstance(next(stream), UserEvent)
        with pytest.raises(SerfUnreachable, match=r"closed the connection \(asked for: stream\)"):
            next(stream)
        assert stream.closed
        stream.stop()


# Queries


def test_a_query_gives_acks_answers_and_done_and_drops_records_from_nobody() -> None:
    def script(peer: Peer) -> None:
        seq, _ = peer.expect("query")
        peer.answer(seq)
        peer.answer(seq, {"Type": "ack", "From": "n1", "Payload": None})
        peer.answer(seq, {"Type": "response", "From": "n1", "Payload": b"\xff\0"})
        for _ in range(1000):
            peer.answer(seq, {"Type": "response", "From": "", "Payload": None})
            peer.answer(seq, {"Type": "ack", "From": "", "Payload": None})
        peer.answer(seq, {"Type": "response", "From": "n2", "Payload": None})
        peer.answer(seq, DONE)
        peer.answer(seq, {"Type": "response", "From": "n3", "Payload": b"after the end"})
        peer.answer(peer.expect("stats")[0], {})

    with agent(script, buffer_records=8) as client:
        query = client.query("load")
        assert list(query) == [Ack("n1"), Response("n1", b"\xff\0"), Response("n2", b""), Done()]
        with pytest.raises(StreamClosed):
            query.next(0.0)
        assert client.stats() == {}


def test_an_answer_of_an_old_agent_that_sends_payloads_as_text_keeps_its_bytes() -> None:
    def script(peer: Peer) -> None:
        seq, _ = peer.expect("query")
        peer.answer(seq)
        payload = bytes(range(256)).decode("utf-8", "surrogateescape")
        peer.answer(seq, {"Type": "response", "From": "n1", "Payload": payload})
        peer.until_closed()

    with agent(script) as client:
        assert client.query("q").next(LIMIT_S) == Response("n1", bytes(range(256)))


def test_a_stopped_query_sends_nothing_and_its_answers_reach_nobody() -> None:
    def script(peer: Peer) -> None:
        old, _ = peer.expect("query")
        peer.answer(old)
        new, _ = peer.expect("query")
        peer.answer(old, {"Type": "response", "From": "n1", "Payload": b"old"})
        peer.answer(new)
        peer.answer(old, DONE)
        peer.answer(new, {"Type": "response", "From": "n1", "Payload": b"new"})
        peer.answer(new, DONE)
        peer.until_closed()

    with agent(script) as client:
        client.query("q").stop()
        assert list(client.query("q")) == [Response("n1", b"new"), Done()]


def test_iterating_a_query_whose_done_never_comes_ends_in_a_time_out() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("query")[0])
        peer.until_closed()

    with agent(script, timeout_s=0.1) as client, pytest.raises(SerfTimeout, match="asked for: query"):
        list(client.query("q", timeout_s=0.05))


def test_wait_any_gives_the_stream_that_has_something() -> None:
    def script(peer: Peer) -> None:
        seqs = [peer.expect("query")[0]]
        peer.answer(seqs[0])
        seqs.append(peer.expect("query")[0])
        peer.answer(seqs[1])
        peer.answer(peer.expect("stats")[0], {})
        peer.answer(seqs[1], {"Type": "response", "From": "n1", "Payload": b""})
        peer.until_closed()

    with agent(script) as client:
        first, second = client.query("a"), client.query("b")
        assert client.wait_any([first, second], 0.02) is None
        client.stats()
        assert client.wait_any([first, second], LIMIT_S) is second
        with agent(lambda peer: None) as other, pytest.raises(BadInput):
            other.wait_any([first], 0.0)
        client.close()
        assert client.wait_any([first], LIMIT_S) is first


# Threads


def test_threads_that_wait_at_once_each_get_their_own() -> None:
    """Answers come in the reverse order of the requests, so every reader reads for somebody else."""
    count = 8

    def script(peer: Peer) -> None:
        asked = [peer.expect("get-coordinate") for _ in range(count)]
        for seq, body in reversed(asked):
            coord = {"Vec": [], "Error": int(body["Node"]), "Adjustment": 0, "Height": 0}
            peer.answer(seq, {"Ok": True, "Coord": coord})

    results: dict[int, float] = {}
    with agent(script) as client:

        def ask(number: int) -> None:
            coord = client.get_coordinate(str(number))
            results[number] = coord.error if coord else -1.0

        threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    assert results == {number: float(number) for number in range(count)}


def test_a_waiting_thread_takes_over_when_the_reader_leaves() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        stream, _ = peer.expect("stream")
        peer.answer(stream)
        seq, _ = peer.expect("stats")
        assert go.wait(LIMIT_S)
        peer.answer(seq, {"late": {}})
        peer.until_closed()

    with agent(script) as client:
        stream = client.stream()
        conn = client._connection("test")
        reader = threading.Thread(target=lambda: stream.next(0.3), daemon=True)
        reader.start()
        until(lambda: conn._pumping, "the reader to read")
        answers: list[object] = []
        waiter = threading.Thread(target=lambda: answers.append(client.stats()), daemon=True)
        waiter.start()
        reader.join(LIMIT_S)
        assert answers == []
        go.set()
        waiter.join(LIMIT_S / 2)  # a waiter that nobody wakes would still look at its own deadline
        assert answers == [{"late": {}}]


def test_closing_wakes_every_thread_that_waits() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("stream")[0])
        peer.until_closed()

    with agent(script) as client:
        stream = client.stream()
        errors: list[SerfError] = []

        def wait() -> None:
            try:
                stream.next(None)
            except SerfError as error:
                errors.append(error)

        threads = [threading.Thread(target=wait, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        conn = client._connection("test")
        until(lambda: conn._pumping, "a reader")
        client.close()
        for thread in threads:
            thread.join(LIMIT_S)
        assert len(errors) == 3
        assert all(isinstance(error, SerfUnreachable) and "closed here" in str(error) for error in errors)
        assert conn._sock.fileno() == -1


# Following


class Clock:
    """Stands in for `threading.Event().wait`: never sleeps, stops after so many pauses."""

    def __init__(self, pauses: int) -> None:
        self.pauses: list[float] = []
        self._allowed = pauses

    def __call__(self, timeout_s: float) -> bool:
        if timeout_s > 0:
            self.pauses.append(timeout_s)
        return len(self.pauses) > self._allowed


def test_following_survives_the_agents_end_and_reports_each_change() -> None:
    def life(name: str) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            seq, body = peer.expect("stream")
            assert body == {"Type": "user"}
            peer.answer(seq)
            peer.answer(seq, {**USER, "Name": name})

        return script

    changes: list[Change] = []
    seen: list[str] = []
    wait = Clock(pauses=1)
    with server(life("one"), life("two")) as addr:
        for client, event in follow(
            lambda: SerfClient.connect(addr), "user", wait=wait, draw=lambda: 0.0, on_change=changes.append
        ):
            assert isinstance(client, SerfClient)
            if isinstance(event, UserEvent):
                seen.append(event.name)
    assert seen == ["one", "two"]
    assert [change.connected for change in changes] == [True, False, True, False]
    assert isinstance(changes[1].error, SerfUnreachable)
    assert wait.pauses == [0.1, 0.1]


def test_following_backs_off_to_a_limit_with_jitter() -> None:
    def refuse() -> SerfClient:
        raise SerfUnreachable("nobody")

    draws = iter([0.0, 0.5, 0.999, 0.0, 0.0, 0.0, 0.0])
    wait = Clock(pauses=6)
    options: dict[str, Any] = {"first_retry_s": 0.1, "longest_retry_s": 1.0}
    assert list(follow(refuse, wait=wait, draw=lambda: next(draws), **options)) == []
    assert wait.pauses == pytest.approx([0.1, 0.15, 0.2002, 0.8, 1.0, 1.0, 1.0])


def test_following_ticks_in_silence_and_stops_on_the_sign() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("stream")[0])
        peer.until_closed()

    stop = threading.Event()
    events = []
    with server(script) as addr:
        connect = lambda: SerfClient.connect(addr)  # noqa: E731
        for _, event in follow(connect, wait=stop.wait, draw=lambda: 0.0, tick_s=0.01):
            events.append(event)
            if len(events) == 3:
                stop.set()
    assert events == [None, None, None]


def test_following_goes_on_after_an_overflow_and_says_so() -> None:
    def script(peer: Peer) -> None:
        seq, _ = peer.expect("stream")
        peer.answer(seq)
        for _ in range(3):
            peer.answer(seq, USER)
        peer.answer(peer.expect("stats")[0], {})
        peer.answer(seq, {**USER, "Name": "after"})
        peer.until_closed()

    stop = threading.Event()
    changes: list[Change] = []
    seen: list[str] = []
    with server(script) as addr:
        for client, event in follow(
            lambda: SerfClient.connect(addr, buffer_records=1),
            wait=stop.wait,
            draw=lambda: 0.0,
            on_change=changes.append,
        ):
            if not seen:
                client.stats()
            if isinstance(event, UserEvent):
                seen.append(event.name)
                if event.name == "after":
                    stop.set()
    assert seen[0] == "deploy"
    assert seen[-1] == "after"
    assert all(change.connected for change in changes)
    assert any(isinstance(change.error, StreamOverflow) for change in changes)


@pytest.mark.parametrize("text", ["Invalid event filter", "Authentication required"])
def test_following_gives_up_where_trying_again_cannot_help(text: str) -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect("stream")[0], error=text)
        peer.until_closed()

    with server(script) as addr, pytest.raises(SerfError, match=rf"^{text}$"):
        next(follow(lambda: SerfClient.connect(addr), "nonsense", wait=lambda s: False, draw=lambda: 0.0))


# The house


def test_importing_the_client_brings_nothing_heavy() -> None:
    """A program that starts for every query pays for each of these on every one."""
    heavy = (
        "click",
        "requests",
        "asyncio",
        "dataclasses",
        "typing",
        "enum",
        "logging",
        "ipaddress",
        "re",
        "ssl",
    )
    code = (
        "import sys; import msgpack, socket, threading; before = set(sys.modules); "
        "import polity_cli.edges.serf_rpc, polity_cli.edges.serf_follow; "
        f"print([m for m in {heavy!r} if m in set(sys.modules) - before])"
    )
    out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    if out.returncode != 0:  # -S hides site-packages where the package is installed
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_command_of_serf_is_a_method() -> None:
    commands = ["handshake", "auth", "event", "force-leave", "join", "members", "members-filtered", "tags"]
    commands += ["stream", "monitor", "stop", "leave", "query", "respond", "install-key", "use-key"]
    commands += ["remove-key", "list-keys", "stats", "get-coordinate"]
    assert len(commands) == 20
    assert all(callable(getattr(SerfClient, command.replace("-", "_"))) for command in commands)
    assert serf_conn.parse_address(SerfClient().addr) == ("127.0.0.1", 7373)
