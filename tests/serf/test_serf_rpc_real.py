"""Every command of the RPC client against real agents."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from polity_cli.devcluster import DevCluster, DevNode, wait_for
from polity_cli.edges.serf_follow import Change, follow
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_stream import Stream
from polity_cli.edges.serf_types import (
    Ack,
    Done,
    MemberEvent,
    QueryEvent,
    Response,
    SerfKeyError,
    UserEvent,
)
from polity_cli.errors import (
    SerfAuthError,
    SerfError,
    SerfProtocolError,
    SerfRequestError,
    SerfTimeout,
    SerfUnreachable,
)
from tests.serf.conftest import ClusterFactory

pytestmark = pytest.mark.serf

LIMIT_S = 15.0


@pytest.fixture
def pair(shared_cluster: ClusterFactory) -> DevCluster:
    return shared_cluster(2, voters="none")


@pytest.fixture
def client(pair: DevCluster) -> Iterator[SerfClient]:
    with pair["n1"].serf() as client:
        yield client


def next_of(stream: Stream[Any], wanted: Callable[[Any], bool]) -> Any:
    """The first record that is wanted, within the limit."""
    deadline = time.monotonic() + LIMIT_S
    while (left_s := deadline - time.monotonic()) > 0:
        record = stream.next(left_s)
        if record is not None and wanted(record):
            return record
    raise AssertionError(f"no such record on the {stream.command}")


@contextmanager
def answering(node: DevNode, name: str, *payloads: bytes) -> Iterator[list[SerfError]]:
    """Answers the next query of that name on this node with the payloads, one after the other."""
    errors: list[SerfError] = []
    with node.serf() as client:
        stream = client.stream(f"query:{name}")

        def answer() -> None:
            event = next_of(stream, lambda record: isinstance(record, QueryEvent))
            for payload in payloads:
                try:
                    client.respond(event.id, payload)
                except SerfError as error:
                    errors.append(error)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield errors
        thread.join(LIMIT_S)
        assert not thread.is_alive()


# The connection


def test_a_second_handshake_is_refused_and_the_connection_stays(client: SerfClient) -> None:
    with pytest.raises(SerfRequestError, match=r"^Handshake already performed$"):
        client.handshake()
    assert client.stats()["agent"]["name"] == "n1"


def test_a_version_nobody_speaks_is_refused(client: SerfClient) -> None:
    with pytest.raises(SerfRequestError, match=r"^Unsupported IPC version$"):
        client.handshake(9)


def test_a_command_nobody_knows_is_refused_before_the_agent_hangs_up(client: SerfClient) -> None:
    conn = client._connection("test")
    with pytest.raises(SerfRequestError, match=r"^Unsupported command$"):
        conn.call("frobnicate", {"How": "thoroughly"}, lambda body: None)
    with pytest.raises(SerfUnreachable, match="asked for: members"):
        client.members()


def test_the_gossip_port_is_not_taken_for_the_rpc(pair: DevCluster) -> None:
    with pytest.raises((SerfProtocolError, SerfTimeout, SerfUnreachable)) as caught:
        SerfClient.connect(pair["n1"].bind_addr, connect_timeout_s=1.0)
    assert pair["n1"].bind_addr in str(caught.value)


def test_without_the_token_every_command_is_refused_and_with_it_none(cluster: ClusterFactory) -> None:
    node = cluster(1, voters="none", rpc_auth="tökén")["n1"]
    with pytest.raises(SerfAuthError, match=r"^Invalid authentication token$"):
        SerfClient.connect(node.rpc_addr, auth_key="wrong")
    with SerfClient.connect(node.rpc_addr) as client:
        asks: list[Callable[[], object]] = [
            client.members,
            lambda: client.members_filtered(name="n1"),
            lambda: client.join(["127.0.0.1:1"]),
            client.list_keys,
            lambda: client.install_key("a2V5"),
            lambda: client.event("e"),
            lambda: client.query("q"),
            client.stream,
            client.monitor,
            client.stats,
            client.leave,
        ]
        for ask in asks:
            with pytest.raises(SerfAuthError, match=r"^Authentication required$") as caught:
                ask()
            assert "SERF_RPC_AUTH" in caught.value.hint
        client.auth("tökén")
        assert [member.name for member in client.members()] == ["n1"]
    with SerfClient.connect(node.rpc_addr, auth_key="tökén") as client:
        assert client.stats()["serf"]["members"] == "1"


def test_an_agent_without_a_token_refuses_any(pair: DevCluster) -> None:
    with pytest.raises(SerfAuthError, match=r"^Invalid authentication token$"):
        SerfClient.connect(pair["n1"].rpc_addr, auth_key="superfluous")


def test_a_paused_agent_is_a_time_out_and_answers_when_it_goes_on(pair: DevCluster) -> None:
    with pair["n2"].serf(timeout_s=0.3) as client:
        pair["n2"].pause()
        try:
            with pytest.raises(SerfTimeout, match="asked for: stats"):
                client.stats()
            with pytest.raises(SerfTimeout, match="asked for: handshake"):
                SerfClient.connect(pair["n2"].rpc_addr, connect_timeout_s=0.3)
        finally:
            pair["n2"].resume()
        wait_for(lambda: _quietly(client.members), LIMIT_S, "the old connection to work again")


def _quietly(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except SerfTimeout:
        return None


def test_a_killed_agent_ends_calls_and_streams_and_refuses_new_clients(cluster: ClusterFactory) -> None:
    node = cluster(1, voters="none")["n1"]
    with node.serf() as client:
        stream = client.stream("member-leave")
        node.kill()
        with pytest.raises(SerfUnreachable, match="asked for: stream"):
            stream.next(LIMIT_S)
        with pytest.raises(SerfUnreachable, match="asked for: members"):
            client.members()
    with pytest.raises(SerfUnreachable, match="connection refused"):
        node.serf().__enter__()


# Members


def test_members_are_typed(pair: DevCluster, client: SerfClient) -> None:
    members = {member.name: member for member in client.members()}
    assert set(members) == {"n1", "n2"}
    second = members["n2"]
    assert f"{second.addr}:{second.port}" == pair["n2"].bind_addr
    assert second.status == "alive"
    assert second.protocol_min <= second.protocol_cur <= second.protocol_max
    assert second.delegate_min <= second.delegate_cur <= second.delegate_max


def test_tags_are_set_deleted_and_filtered_by(client: SerfClient) -> None:
    client.tags({"role": "db", "rack": "7"})
    client.tags({"role": "web"}, delete=["rack", "role", "never"])
    assert {member.name: member.tags for member in client.members()}["n1"] == {"role": "web"}
    assert [member.name for member in client.members_filtered(tags={"role": "w.b"})] == ["n1"]
    assert client.members_filtered(tags={"role": "we"}) == ()
    with pytest.raises(SerfRequestError, match=r"^Encoded length of tags exceeds limit of 512 bytes$"):
        client.tags({"role": "x" * 600})
    client.tags(delete=["role"])
    assert [member.tags for member in client.members_filtered(name="n1")] == [{}]


def test_filters_are_regular_expressions_whose_anchors_are_not_grouped(client: SerfClient) -> None:
    def names(**filters: str) -> list[str]:
        return sorted(member.name for member in client.members_filtered(**filters))  # type: ignore[arg-type]

    assert names() == ["n1", "n2"]
    assert names(name="n1") == ["n1"]
    assert names(name="n") == []
    assert names(name="n|x2") == ["n1", "n2"]  # ^n|x2$
    assert names(name="(n|x2)") == []
    assert names(status="alive", name="n2") == ["n2"]
    assert names(status="failed") == []


def test_a_filter_that_is_no_regular_expression_ends_the_connection(client: SerfClient) -> None:
    with pytest.raises(SerfUnreachable, match="asked for: members-filtered") as caught:
        client.members_filtered(name="(")
    assert "regular expression" in caught.value.hint


def test_join_counts_whom_it_reached(pair: DevCluster, client: SerfClient) -> None:
    assert client.join([pair["n2"].bind_addr]) == 1
    assert client.join(["127.0.0.1:1", pair["n2"].bind_addr], replay=True) == 1
    assert client.join([]) == 0


def test_join_with_an_unreachable_address_raises_serfs_own_text(client: SerfClient) -> None:
    with pytest.raises(SerfRequestError) as caught:
        client.join(["127.0.0.1:1"])
    assert "Failed to join 127.0.0.1: dial tcp 127.0.0.1:1: connect: connection refused" in str(caught.value)
    assert len(client.members()) == 2


def test_forcing_a_failed_node_out_makes_it_left_and_pruning_forgets_it(cluster: ClusterFactory) -> None:
    made = cluster(3, voters="none")
    with made["n1"].serf() as client:
        client.force_leave("nobody")
        for name in ("n2", "n3"):
            made[name].kill()

        def status(name: str) -> str | None:
            return {member.name: member.status for member in client.members()}.get(name)

        wait_for(lambda: status("n2") == status("n3") == "failed", 2 * LIMIT_S, "two to be called failed")
        client.force_leave("n2")
        wait_for(lambda: status("n2") == "left", LIMIT_S, "n2 to have left")
        client.force_leave("n3", prune=True)
        wait_for(lambda: status("n3") is None, LIMIT_S, "n3 to be forgotten")


def test_leaving_ends_the_agent(cluster: ClusterFactory) -> None:
    made = cluster(2, voters="none")
    with made["n1"].serf() as watcher, made["n2"].serf() as client:
        stream = watcher.stream(["member-leave", "member-failed"])
        client.leave(timeout_s=LIMIT_S)
        event = next_of(stream, lambda record: True)
        assert isinstance(event, MemberEvent)
        assert (event.event, [member.name for member in event.members]) == ("member-leave", ["n2"])
        assert event.members[0].status == "left"
        wait_for(lambda: made["n2"].serf_pid is None, LIMIT_S, "the agent to end")
        with pytest.raises(SerfUnreachable):
            client.members()


# Events and queries


def test_an_event_reaches_the_streams_that_ask_for_it(pair: DevCluster, client: SerfClient) -> None:
    payload = bytes(range(256))
    with (
        pair["n2"].serf() as other,
        other.stream("user:deploy") as wanted,
        other.stream(["user:x"]) as not_it,
    ):
        client.event("deploy", payload)
        event = next_of(wanted, lambda record: True)
        assert event == UserEvent("deploy", event.ltime, payload, False)
        client.event("deploy", coalesce=True)
        assert next_of(wanted, lambda record: True)[2:] == (b"", True)
        assert not_it.next(0.0) is None


def test_an_event_that_is_too_long_raises_serfs_own_text(client: SerfClient) -> None:
    with pytest.raises(
        SerfRequestError, match=r"^user event exceeds configured limit of 512 bytes before encoding$"
    ):
        client.event("deploy", b"x" * 600)


def test_an_unknown_event_type_raises_serfs_own_text(client: SerfClient) -> None:
    with pytest.raises(SerfRequestError, match=r"^Invalid event filter$"):
        client.stream("earthquake")
    with client.stream("") as everything:
        client.event("any")
        assert isinstance(next_of(everything, lambda record: True), UserEvent)


def test_a_stopped_stream_is_silent_while_another_goes_on(client: SerfClient) -> None:
    first, second = client.stream("user"), client.stream("user")
    first.stop()
    client.event("after")
    assert next_of(second, lambda record: True).name == "after"
    assert list(first) == []
    client.stop(second)


def test_a_query_collects_acks_and_binary_answers_until_its_deadline(
    pair: DevCluster, client: SerfClient
) -> None:
    payload = bytes(range(256))
    with answering(pair["n1"], "load", payload), answering(pair["n2"], "load", b""):
        started = time.monotonic()
        query = client.query("load", b"\0", request_ack=True, timeout_s=2.0)
        records = list(query)
        assert time.monotonic() - started > 1.9
    assert records[-1] == Done()
    acks = [record for record in records if type(record) is Ack]
    answers = [record for record in records if type(record) is Response]
    # As tuples, as equal records of two classes would be equal.
    assert sorted(acks) == [("n1",), ("n2",)]
    assert sorted(answers) == [("n1", payload), ("n2", b"")]


def test_filters_choose_who_is_asked(client: SerfClient) -> None:
    def asked(**filters: Any) -> list[str]:
        query = client.query("who", request_ack=True, timeout_s=0.6, relay_factor=1, **filters)
        return sorted(record.node for record in query if isinstance(record, Ack))

    client.tags({"role": "webserver"})
    assert asked(filter_nodes=["n2"]) == ["n2"]
    assert asked(filter_tags={"role": "web"}) == ["n1"]  # not anchored
    assert asked(filter_tags={"role": "^web$"}) == []
    client.tags(delete=["role"])


def test_a_query_that_is_too_long_or_internal_raises_serfs_own_text(client: SerfClient) -> None:
    with pytest.raises(SerfRequestError, match=r"^query exceeds limit of 1024 bytes$"):
        client.query("load", b"x" * 1100)
    with pytest.raises(SerfRequestError, match=r"^Queries cannot contain the '_serf_' prefix$"):
        client.query("_serf_conflict")


def test_without_a_time_limit_serf_chooses_one(client: SerfClient) -> None:
    started = time.monotonic()
    assert list(client.query("nobody-answers")) == [Done()]
    assert 2 < time.monotonic() - started < LIMIT_S


def test_answering_twice_or_too_long_raises_serfs_own_text(pair: DevCluster, client: SerfClient) -> None:
    with answering(pair["n1"], "twice", b"x" * 2000, b"once", b"again") as errors:
        answers = [r for r in client.query("twice", timeout_s=1.0) if isinstance(r, Response)]
    assert answers == [Response("n1", b"once")]
    assert [str(error) for error in errors] == [
        "failed to respond to key query: response exceeds limit of 1024 bytes",
        "failed to respond to key query: response already sent",
    ]


def test_answering_an_unknown_query_raises_serfs_own_text(client: SerfClient) -> None:
    with pytest.raises(SerfRequestError, match=r"^No pending queries matching ID$"):
        client.respond(2**64 - 1, b"")


def test_an_answer_after_the_deadline_raises_serfs_own_text(client: SerfClient) -> None:
    stream = client.stream("query:late")
    query = client.query("late", timeout_s=0.2)
    event = next_of(stream, lambda record: isinstance(record, QueryEvent))
    assert list(query) == [Done()]
    with pytest.raises(
        SerfRequestError, match=r"No pending queries matching ID|response is past the deadline"
    ):
        client.respond(event.id, b"")


def test_many_queries_and_threads_share_one_client(pair: DevCluster, client: SerfClient) -> None:
    """No answer is lost between threads: the local agent's ack is there for each query, and for no other."""
    results: list[list[str]] = []

    def ask(number: int) -> None:
        for _ in range(5):
            members = client.members()
            assert len(members) == 2
            seen = client.query(f"q{number}", filter_nodes=["n1"], request_ack=True, timeout_s=0.2)
            results.append([type(record).__name__ for record in seen])

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(results) == 20
    assert all(kinds[-1] == "Done" and len(kinds) <= 2 for kinds in results)
    # Serf itself loses all replies of some queries that start at once on one agent.
    assert sum(kinds == ["Ack", "Done"] for kinds in results) >= 15


# Logs, figures, keys, coordinates


def test_the_log_comes_with_recent_lines_and_once_per_connection(client: SerfClient) -> None:
    with client.monitor("info") as log:
        assert "agent: Serf agent starting" in next_of(log, lambda line: "Serf agent starting" in line)
        with pytest.raises(SerfRequestError, match=r"^Monitor already exists$"):
            client.monitor()
    with client.monitor("ERR"):
        pass
    with pytest.raises(SerfRequestError, match=r"^Unknown log level: LOUD$"):
        client.monitor("loud")


def test_stats_are_sections_of_text(client: SerfClient) -> None:
    stats = client.stats()
    assert stats["agent"]["name"] == "n1"
    assert stats["serf"]["members"] == "2"
    assert stats["serf"]["encrypted"] == "false"


def test_a_coordinate_is_there_for_a_member_only(client: SerfClient) -> None:
    coordinate = client.get_coordinate("n1")
    assert coordinate is not None
    assert len(coordinate.vec) == 8
    assert coordinate.error > 0
    assert client.get_coordinate("nobody") is None


def test_key_commands_without_encryption_tell_each_nodes_words(client: SerfClient) -> None:
    with pytest.raises(SerfKeyError, match=r"^2/2 nodes reported failure$") as caught:
        client.list_keys()
    assert caught.value.answer.messages == dict.fromkeys(
        ["n1", "n2"], "Keyring is empty (encryption not enabled)"
    )
    assert (caught.value.answer.num_nodes, caught.value.answer.num_err) == (2, 2)
    with pytest.raises(SerfKeyError, match=r"^illegal base64 data"):
        client.install_key("!!")


def test_keys_are_installed_used_listed_and_removed(cluster: ClusterFactory) -> None:
    old, new = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    node = cluster(2, voters="none", serf_config={"encrypt_key": old})["n1"]

    def until_all(do: Callable[[], Any]) -> Any:
        """A query can miss a node, which is then an error of Serf's; these commands can be repeated."""
        for _ in range(5):
            try:
                return do()
            except SerfKeyError as error:
                if error.answer.num_err:
                    raise
        return do()

    with node.serf() as client:
        assert until_all(client.list_keys).keys == {old: 2}
        assert until_all(lambda: client.install_key(new)).num_resp == 2
        assert until_all(client.list_keys).keys == {old: 2, new: 2}
        until_all(lambda: client.use_key(new))
        with pytest.raises(SerfKeyError, match="nodes reported failure") as caught:
            client.remove_key(new)
        assert any("primary" in text for text in caught.value.answer.messages.values())
        until_all(lambda: client.remove_key(old))
        assert until_all(client.list_keys).keys == {new: 2}


# Following


def test_a_follower_hears_events_before_and_after_a_restart_of_the_agent(cluster: ClusterFactory) -> None:
    node = cluster(1, voters="none")["n1"]
    stop = threading.Event()
    changes: list[Change] = []
    heard: list[str] = []

    def listen() -> None:
        for _, event in follow(
            lambda: SerfClient.connect(node.rpc_addr),
            "user",
            wait=stop.wait,
            draw=lambda: 0.5,
            on_change=changes.append,
        ):
            if isinstance(event, UserEvent):
                heard.append(event.name)

    def connections() -> int:
        return sum(change.connected for change in changes)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        for name in ("before", "after"):
            expected = len(heard) + 1
            wait_for(lambda n=expected: connections() == n, LIMIT_S, "the follower to connect")  # type: ignore[misc]
            with node.serf() as client:
                client.event(name)
            wait_for(lambda n=name: n in heard, LIMIT_S, f"the event {name}")  # type: ignore[misc]
            if name == "before":
                node.kill()
                wait_for(lambda: not changes[-1].connected, LIMIT_S, "the follower to notice")
                node.start()
    finally:
        stop.set()
        thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert heard == ["before", "after"]
    assert all(isinstance(change.error, SerfUnreachable) for change in changes if not change.connected)
