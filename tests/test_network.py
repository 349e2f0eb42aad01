"""Serf queries as a network: whom a message is sent to, and when, by an agent that is played by hand."""

from __future__ import annotations

from collections import deque
from typing import Any

from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.tenure import VACANT
from polity_cli.core.witness import REMINDER_BYTES
from polity_cli.edges import wire
from polity_cli.edges.network import RELAY_FACTOR, Heard, SerfNetwork
from polity_cli.edges.serf_types import Done, Member, Response

ATTEMPT = b"attempt1"
POLITY = b"polity-1"
STAND = m.Stand(
    ATTEMPT, POLITY, 1, "leader", ZERO, VACANT, VACANT.filled_by("n1", b"claim-01"), Ballot(1, ATTEMPT)
)
PREPARE = m.Prepare(ATTEMPT, POLITY, 1, "leader", Ballot(1, ATTEMPT))
EVERYBODY: tuple[str, ...] = ()


class Asked:
    """A query that was given to the agent, and the records that have come for it."""

    def __init__(self, nodes: tuple[str, ...], payload: bytes, relay_factor: int) -> None:
        self.nodes = nodes
        self.payload = payload
        self.relay_factor = relay_factor
        self.records: deque[Response | Done] = deque()

    def next(self, timeout_s: float) -> Response | Done:
        return self.records.popleft()

    def stop(self) -> None:
        self.records.clear()

    def answer(self, node: str, payload: bytes | None = None) -> None:
        reply = m.State(ATTEMPT, b"voter-" + node.encode()[-2:], POLITY, 1, ZERO, ZERO, VACANT, ZERO, VACANT)
        self.records.append(Response(node, wire.encode(reply) if payload is None else payload))


class Agent:
    """As much of `SerfClient` as a network uses."""

    addr = "127.0.0.1:0"

    def __init__(self, *names: str) -> None:
        voter = Member("", "", 0, {"polity": "voter"}, "alive", 0, 0, 0, 0, 0, 0)
        self.nodes = [voter._replace(name=name) for name in names]
        self.asked: list[Asked] = []

    def members(self) -> list[Member]:
        return self.nodes

    def query(self, name: str, payload: bytes, *, filter_nodes: Any, relay_factor: int, **_: Any) -> Asked:
        self.asked.append(Asked(tuple(filter_nodes), payload, relay_factor))
        return self.asked[-1]

    def wait_any(self, queries: list[Asked], timeout_s: float) -> Asked | None:
        return next((query for query in queries if query.records), None)


def network_of(*names: str) -> tuple[Agent, SerfNetwork]:
    agent = Agent(*names)
    network = SerfNetwork(agent, "polity")  # type: ignore[arg-type]
    network.members()
    return agent, network


def asked_of(agent: Agent) -> list[tuple[str, ...]]:
    return [query.nodes for query in agent.asked]


def test_a_candidate_asks_the_others_first_and_its_own_voter_as_soon_as_one_has_answered() -> None:
    agent, network = network_of("n1", "n2", "n3")
    network.ask(STAND, again=False)
    assert asked_of(agent) == [("n2", "n3")]
    assert network.listen(0) is None
    assert len(agent.asked) == 1
    agent.asked[0].answer("n3")
    agent.asked[0].answer("n2")
    for node in ("n3", "n2"):
        heard = network.listen(0)
        assert isinstance(heard, Heard)
        assert heard.node == node
    assert asked_of(agent) == [("n2", "n3"), ("n1",)]
    assert agent.asked[1].payload == agent.asked[0].payload == wire.encode(STAND)


def test_an_answer_that_cannot_be_read_shows_as_well_that_the_stand_is_out() -> None:
    agent, network = network_of("n1", "n2")
    network.ask(STAND, again=False)
    agent.asked[0].answer("n2", b"nonsense")
    assert network.listen(0) is None
    assert network.strange == 1
    assert asked_of(agent)[1:] == [("n1",)]


def test_an_answer_to_an_earlier_message_shows_nothing() -> None:
    agent, network = network_of("n1", "n2")
    network.ask(PREPARE, again=False)
    network.ask(STAND, again=False)
    agent.asked[0].answer("n2")
    assert network.listen(0) is not None
    assert asked_of(agent) == [EVERYBODY, ("n2",)]


def test_asking_again_asks_everybody_at_once() -> None:
    agent, network = network_of("n1", "n2", "n3")
    network.ask(STAND, again=False)
    network.ask(STAND, again=True)
    assert asked_of(agent) == [("n2", "n3"), EVERYBODY]
    assert [query.relay_factor for query in agent.asked] == [0, RELAY_FACTOR]
    agent.asked[0].answer("n2")
    assert network.listen(0) is not None
    assert len(agent.asked) == 2, "its own voter was asked with everybody"


def test_everything_else_goes_to_everybody_at_once() -> None:
    lone, large = network_of("n1"), network_of(*(f"n{i}" for i in range(1, 11)))
    wordy = network_of("n1", *(f"n{i}" + "x" * 120 for i in range(2, 7)))
    for agent, network in (lone, large, wordy):
        network.ask(STAND, again=False)
        assert asked_of(agent) == [EVERYBODY]
    agent, network = network_of("n1", "n2", "n3")
    network.ask(PREPARE, again=False)
    assert asked_of(agent) == [EVERYBODY]


def test_a_candidate_that_is_the_only_voter_alive_does_not_wait_for_others() -> None:
    changes: tuple[dict[str, Any], ...] = ({"tags": {}}, {"status": "failed"})
    for change in changes:
        agent, network = network_of("n1", "n2", "n3")
        agent.nodes[1:] = [node._replace(**change) for node in agent.nodes[1:]]
        network.members()
        network.ask(STAND, again=False)
        assert asked_of(agent) == [EVERYBODY]


def test_every_question_reminds_the_voters_and_a_stand_s_way_stays_the_same() -> None:
    agent, network = network_of("n1", "n2", "n3")
    kept = [bytes([at]) * REMINDER_BYTES for at in range(60)]
    network.reminders = lambda: kept
    network.ask(STAND, again=False)
    agent.asked[0].answer("n2")
    network.listen(0)
    network.ask(PREPARE, again=False)
    assert asked_of(agent) == [("n2", "n3"), ("n1",), EVERYBODY]
    for query in agent.asked:
        message, reminders = wire.decode_reminding(query.payload)
        assert message in (STAND, PREPARE)
        assert len(reminders) >= 20 * REMINDER_BYTES
        names = sum(len(name) + 3 for name in query.nodes)
        assert len(query.payload) + names <= wire.QUERY_BYTES


def test_a_query_that_is_over_is_not_listened_to_any_more() -> None:
    agent, network = network_of("n1", "n2")
    network.ask(PREPARE, again=False)
    agent.asked[0].records.append(Done())
    assert network.listen(0) is None
    agent.asked[0].answer("n2")
    assert network.listen(0) is None
