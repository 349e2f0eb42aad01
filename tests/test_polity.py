"""The library on three real agents, for which nobody votes but the `Polity` objects of these tests.

No agent runs an event handler here: one that runs scripts panics when a client that streams its events
hangs up in the middle of one, and these clients come and go.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic

import pytest

import polity_cli
from polity_cli import (
    Election,
    ElectionAborted,
    GuardFailed,
    LostElection,
    NoQuorum,
    OutcomeUnknown,
    Polity,
    QuorumPercentage,
    RoleUnfilled,
    SerfClient,
)
from polity_cli.devcluster import DevCluster, DevNode, wait_for
from polity_cli.errors import BadInput, NotFounded, SerfError
from polity_cli.session import Session

TWO_OF_THREE = QuorumPercentage(0.5, 2)
PATIENCE_S = 20.0

serf = pytest.mark.serf


# What can be imported.


@pytest.mark.parametrize(
    "name",
    [
        "Polity",
        "Election",
        "SerfClient",
        "QuorumPercentage",
        "SimpleMajority",
        "LamportWindow",
        "Tenure",
        "ElectionAborted",
        "GuardFailed",
        "LostElection",
        "NoQuorum",
        "OutcomeUnknown",
        "PolityError",
        "RoleUnfilled",
    ],
)
def test_a_public_name_is_there_and_found_by_those_who_look_around(name: str) -> None:
    assert getattr(polity_cli, name).__module__.startswith("polity_cli.")
    assert name in dir(polity_cli)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Politty'"):
        polity_cli.Politty  # noqa: B018


def test_an_election_is_a_future_that_nobody_can_cancel_but_everybody_can_abort() -> None:
    election = Election()
    assert election.running()
    assert not election.cancel()
    assert not election.aborted
    election.abort()
    assert not election.done(), "whoever runs it has the last word"
    assert [election.aborted] == [True]


# With agents.


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    """Three agents that carry the voters' tag, without anybody to vote."""
    with DevCluster(3, voters="none", serf_config={"tags": {"polity": "voter"}}) as made:
        yield made


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERF_RPC_ADDR", "SERF_RPC_AUTH", "POLITY_STATE_DIR", "POLITY_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POLITY_CONFIG", "/dev/null")


def connect(node: DevNode, **options: object) -> Polity:
    return Polity.connect(node.rpc_addr, state_dir=str(node.state_dir), **options)  # type: ignore[arg-type]


@pytest.fixture
def voters(cluster: DevCluster) -> Iterator[list[Polity]]:
    """A polity that decides by two of three votes; `Polity` objects vote on n1, n2 and n3 in that order.

    The first two connected by themselves; the third was given a client and its stream of events.
    """
    first, second, third = cluster.nodes
    with ExitStack() as stack:
        polities = [stack.enter_context(connect(node)) for node in (first, second)]
        client = stack.enter_context(SerfClient.connect(third.rpc_addr))
        events = client.stream(["query:polity", "user:polity"])
        polities.append(stack.enter_context(Polity(client, events, state_dir=str(third.state_dir))))
        stack.callback(events.stop)
        with Session(polities[0].serf, namespace="polity", state_dir=str(first.state_dir)) as session:
            session.found(rule=TWO_OF_THREE, timeout_s=PATIENCE_S)
        yield polities


@serf
def test_before_a_founding_there_is_nothing_to_ask(cluster: DevCluster) -> None:
    with connect(cluster["n1"]) as polity, pytest.raises((NotFounded, NoQuorum)) as caught:
        polity.query_role("anything", timeout_s=3.0)
    assert caught.value.hint


@serf
def test_a_future_gives_the_tenure_and_every_node_sees_the_same_holder(voters: list[Polity]) -> None:
    first, second, third = voters
    assert first.query_role("leader") is None
    election = first.run_election("leader")
    tenure = election.result(PATIENCE_S)
    assert (tenure.holder, tenure.term) == ("n1", 1)
    assert election.done()
    assert not election.aborted
    assert [polity.query_role("leader") for polity in voters] == ["n1", "n1", "n1"]
    assert second.tenure("leader") == tenure
    again = first.run_election("leader").result(PATIENCE_S)
    assert again == tenure
    with pytest.raises(LostElection) as lost:
        third.run_election("leader").result(PATIENCE_S)
    assert (lost.value.holder, lost.value.term) == ("n1", 1)


@serf
def test_a_recall_empties_the_role_and_one_of_a_vacant_role_says_so(voters: list[Polity]) -> None:
    first, second, third = voters
    with pytest.raises(RoleUnfilled):
        second.run_recall_election("backup").result(PATIENCE_S)
    third.run_election("backup").result(PATIENCE_S)
    for guard in ({"holder": "n1"}, {"term": 9}):
        with pytest.raises(GuardFailed):
            first.run_recall_election("backup", **guard).result(PATIENCE_S)
    empty = first.run_recall_election("backup", holder="n3", term=1).result(PATIENCE_S)
    assert (empty.holder, empty.term) == (None, 2)
    assert first.query_role("backup") is None
    with pytest.raises(RoleUnfilled):
        third.run_recall_election("backup").result(PATIENCE_S)


@serf
def test_of_three_that_stand_at_once_one_wins_and_the_others_hear_who(voters: list[Polity]) -> None:
    elections = [polity.run_election("prize") for polity in voters]
    errors = [election.exception(PATIENCE_S) for election in elections]
    [winner] = [at for at, error in enumerate(errors, 1) if error is None]
    for error in errors:
        if error is not None:
            assert isinstance(error, LostElection)
            assert error.holder == f"n{winner}"


@serf
def test_an_election_tells_its_end_to_those_who_asked_to_be_called(voters: list[Polity]) -> None:
    called = threading.Event()
    voters[0].run_election("called").add_done_callback(lambda election: called.set())
    assert called.wait(PATIENCE_S)


@serf
def test_a_quorum_function_may_ask_for_more_but_never_for_less(
    cluster: DevCluster, voters: list[Polity]
) -> None:
    asked: list[int] = []

    def all_of_them(population: int) -> int:
        asked.append(population)
        return population

    first = cluster["n1"]
    voters[2].close()
    with connect(first, vote=False, quorum_func=all_of_them) as strict:
        with pytest.raises((NoQuorum, OutcomeUnknown)):
            strict.run_election("strict", timeout_s=1.0).result(PATIENCE_S)
        assert asked == [3]
    with connect(first, vote=False, quorum_func=lambda population: 1) as lax:
        assert lax.run_election("lax").result(PATIENCE_S).holder == "n1"
        voters[1].close()
        with pytest.raises((NoQuorum, OutcomeUnknown)):
            lax.run_election("laxer", timeout_s=1.0).result(PATIENCE_S)
    with connect(first, vote=False, quorum_func=lambda population: population + 1) as impossible:
        with pytest.raises(BadInput, match="asks for 4 of 3 votes") as caught:
            impossible.run_election("impossible").result(PATIENCE_S)
        assert caught.value.hint


@serf
def test_an_election_that_is_aborted_after_votes_were_asked_for_may_take_effect(
    voters: list[Polity],
) -> None:
    for polity in voters[1:]:
        polity.close()
    election = voters[0].run_election("half", wait=True, timeout_s=60.0)
    began_s = monotonic()
    wait_for(lambda: len(voters[0]._running) == 1, 5.0, "the election to run")
    with pytest.raises(TimeoutError):
        election.result(0.5)
    election.abort()
    with pytest.raises(ElectionAborted) as caught:
        election.result(PATIENCE_S)
    assert monotonic() - began_s < 5.0
    assert caught.value.may_take_effect
    assert caught.value.exit_code == 130
    assert election.aborted
    assert voters[0]._running == set()


@serf
def test_a_recall_that_is_aborted_before_it_proposed_never_takes_effect(voters: list[Polity]) -> None:
    voters[0].run_election("kept").result(PATIENCE_S)
    for polity in voters[1:]:
        polity.close()
    recall = voters[0].run_recall_election("kept", wait=True, timeout_s=60.0)
    with pytest.raises(TimeoutError):
        recall.result(0.5)
    recall.abort()
    with pytest.raises(ElectionAborted) as caught:
        recall.result(PATIENCE_S)
    assert not caught.value.may_take_effect


@serf
def test_closing_aborts_what_is_under_way(voters: list[Polity]) -> None:
    for polity in voters[1:]:
        polity.close()
    election = voters[0].run_election("closed", wait=True, timeout_s=60.0)
    with pytest.raises(TimeoutError):
        election.result(0.5)
    voters[0].close()
    with pytest.raises(ElectionAborted):
        election.result(PATIENCE_S)
    with pytest.raises(SerfError):
        voters[0].query_role("closed")


@serf
def test_an_election_aborted_before_it_knows_the_electorate_is_aborted_all_the_same(
    cluster: DevCluster,
) -> None:
    """Nobody votes here, and n1 is asked without its memory, so it has to learn of the polity first."""
    with Polity.connect(
        cluster["n1"].rpc_addr, state_dir="/nonexistent", vote=False, namespace="elsewhere"
    ) as polity:
        election = polity.run_election("anything", timeout_s=60.0)
        election.abort()
        with pytest.raises(ElectionAborted) as caught:
            election.result(PATIENCE_S)
        assert not caught.value.may_take_effect


@serf
def test_closing_takes_no_longer_than_the_voter_needs_to_notice(voters: list[Polity]) -> None:
    for polity in voters:
        began_s = monotonic()
        polity.close()
        polity.close()
        assert monotonic() - began_s < 2.0
    assert not voters[2].serf.closed, "a client that was passed in stays open"


@serf
def test_what_is_wrong_with_the_input_is_raised_from_the_result_or_at_once(voters: list[Polity]) -> None:
    with pytest.raises(BadInput):
        voters[0].run_election("").result(PATIENCE_S)
    with pytest.raises(BadInput):
        voters[0].run_election("leader", timeout_s=0.0).result(PATIENCE_S)
    with pytest.raises(BadInput):
        voters[0].query_role("a\nb")
    with pytest.raises(BadInput):
        Polity(voters[0].serf, namespace="a b")


@serf
def test_a_voter_that_is_not_open_gives_no_vote_and_does_again_once_it_is(
    cluster: DevCluster, voters: list[Polity]
) -> None:
    for polity in voters[1:]:
        polity.close()
    with connect(cluster["n2"]):
        assert voters[0].run_election("reopened").result(PATIENCE_S).holder == "n1"
