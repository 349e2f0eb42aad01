"""Elections, recalls and questions on real agents, as people ask them: each command is a process."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from polity_cli.devcluster import DevCluster
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import (
    NO,
    OK,
    VACANT,
    ask,
    ask_all,
    dump_all,
    found,
    tell,
    wait_until_heard,
)

SIZES = [(size, voters) for voters in ("agent", "hook") for size in (3, 5, 7)]
SOME = [(3, "hook"), (5, "agent")]


def _name(size: tuple[int, str]) -> str:
    return f"{size[0]} {size[1]}s"


@pytest.fixture(params=SIZES, ids=_name)
def nodes(request: pytest.FixtureRequest, shared_cluster: ClusterFactory) -> DevCluster:
    """A founded polity; the tests of this module share it."""
    size, voters = request.param
    return found(shared_cluster(size, voters=voters))


@pytest.fixture(params=SOME, ids=_name)
def some_nodes(request: pytest.FixtureRequest, shared_cluster: ClusterFactory) -> DevCluster:
    """As `nodes`, for what neither size nor kind of voter makes a difference to."""
    size, voters = request.param
    return found(shared_cluster(size, voters=voters))


def test_the_winner_holds_the_role_and_every_node_says_so(nodes: DevCluster) -> None:
    won = ask(nodes["n2"], "elect", "first")
    assert won.code == OK, won
    assert (won.data["outcome"], won.data["holder"], won.data["term"]) == ("won", "n2", 1)
    assert won.data["candidate"] == "n2"
    votes = won.data["votes"]
    assert votes["population"] == nodes.size
    assert votes["yes"] >= votes["required"] > nodes.size // 2

    answers = ask_all(nodes.nodes, "who", "first")
    assert {said.code for said in answers} == {OK}, tell(answers)
    told = {(said.data["outcome"], said.data["holder"], said.data["term"]) for said in answers}
    assert told == {("held", "n2", 1)}, tell(answers)
    assert {said.data["source"] for said in answers} == {"quorum"}


def test_standing_again_keeps_the_role_in_the_same_term(nodes: DevCluster) -> None:
    assert ask(nodes["n1"], "elect", "again").code == OK
    for _ in range(2):
        again = ask(nodes["n1"], "elect", "again")
        assert again.code == OK, again
        assert (again.data["outcome"], again.data["holder"], again.data["term"]) == ("held", "n1", 1)


def test_another_candidate_loses_and_no_voter_writes_anything(nodes: DevCluster) -> None:
    assert ask(nodes["n1"], "elect", "taken").code == OK
    wait_until_heard(nodes, "taken", 1)
    before = dump_all(nodes)
    for name in ("n2", "n3"):
        lost = ask(nodes[name], "elect", "taken")
        assert lost.code == NO, lost
        assert (lost.data["outcome"], lost.data["holder"], lost.data["term"]) == ("lost", "n1", 1)
        assert "n1 holds taken (term 1)" in lost.talk
    assert dump_all(nodes) == before


def test_a_recall_empties_the_role_and_the_next_term_is_greater(nodes: DevCluster) -> None:
    assert ask(nodes["n1"], "elect", "passed on").data["term"] == 1

    recalled = ask(nodes["n3"], "recall", "passed on")
    assert recalled.code == OK, recalled
    assert (recalled.data["outcome"], recalled.data["previous_holder"]) == ("recalled", "n1")
    assert recalled.data["term"] == 2

    answers = ask_all(nodes.nodes, "who", "passed on")
    assert {said.code for said in answers} == {VACANT}, tell(answers)
    told = {(said.data["outcome"], said.data["holder"], said.data["term"]) for said in answers}
    assert told == {("vacant", None, 2)}, tell(answers)

    vacant = ask(nodes["n2"], "recall", "passed on")
    assert vacant.code == VACANT, vacant
    assert vacant.data["outcome"] == "vacant"

    for holder, term in (("n2", 3), ("n3", 5)):
        won = ask(nodes[holder], "elect", "passed on")
        assert won.code == OK, won
        assert (won.data["outcome"], won.data["holder"], won.data["term"]) == ("won", holder, term)
        wait_until_heard(nodes, "passed on", term)
        assert ask(nodes["n1"], "recall", "passed on", "--term", str(term)).code == OK


def test_a_role_nobody_ever_stood_for_is_vacant(some_nodes: DevCluster) -> None:
    for question in (["who", "never held"], ["recall", "never held"]):
        said = ask(some_nodes["n2"], *question)
        assert said.code == VACANT, said
        assert (said.data["outcome"], said.data["term"]) == ("vacant", 0)


@pytest.mark.parametrize("guard", [("--holder", "n2"), ("--term", "7"), ("--holder", "n1", "--term", "2")])
def test_a_recall_whose_guard_does_not_match_changes_nothing(
    some_nodes: DevCluster, guard: tuple[str, ...]
) -> None:
    # Shared by the three guards: whoever comes first has it elected.
    assert ask(some_nodes["n1"], "elect", "guarded").data["term"] == 1
    wait_until_heard(some_nodes, "guarded", 1)
    before = dump_all(some_nodes)
    refused = ask(some_nodes["n3"], "recall", "guarded", *guard)
    assert refused.code == NO, refused
    assert (refused.data["outcome"], refused.data["previous_holder"]) == ("guard", "n1")
    assert refused.data["term"] == 1
    assert dump_all(some_nodes) == before
    assert ask(some_nodes["n2"], "who", "guarded").data["holder"] == "n1"


def test_a_recall_whose_guards_match_is_done(some_nodes: DevCluster) -> None:
    assert ask(some_nodes["n2"], "elect", "well guarded").data["term"] == 1
    done = ask(some_nodes["n1"], "recall", "well guarded", "--holder", "n2", "--term", "1")
    assert done.code == OK, done
    assert (done.data["outcome"], done.data["previous_holder"], done.data["term"]) == ("recalled", "n2", 2)


NAMES = ["two words", "x" * 128, "é" * 64, "漢" * 42 + "ab", "a/b: c=d 'e' \"f\" \\ $g", "-", "Δ", "'"]


def test_role_names_may_be_long_and_strange(some_nodes: DevCluster) -> None:
    for role in NAMES:
        won = ask(some_nodes["n3"], "elect", "--", role)
        assert won.code == OK, won
        assert (won.data["role"], won.data["holder"], won.data["term"]) == (role, "n3", 1)
        said = ask(some_nodes["n1"], "who", "--", role)
        assert (said.code, said.data["role"], said.data["holder"]) == (OK, role, "n3"), said
    known = ask(some_nodes["n2"], "roles")
    assert known.code == OK, known
    told = {row["role"]: (row["holder"], row["term"], row["source"]) for row in known.data["roles"]}
    assert {role: told.get(role) for role in NAMES} == dict.fromkeys(NAMES, ("n3", 1, "quorum"))


def test_a_node_name_may_have_128_bytes_and_a_role_too(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="hook", name_prefix="n" * 127))
    role, (holder, *_) = "r" * 128, nodes.nodes
    won = ask(holder, "elect", role)
    assert (won.code, won.data["holder"]) == (OK, holder.name), won
    assert ask(nodes.nodes[2], "recall", role, "--holder", holder.name).code == OK
    again = ask(holder, "elect", role)
    assert (again.code, again.data["term"]) == (OK, 3), again


def test_roles_are_elected_apart_from_each_other(some_nodes: DevCluster) -> None:
    for name in ("n1", "n2", "n3"):
        assert ask(some_nodes[name], "elect", f"seat of {name}").code == OK
    assert ask(some_nodes["n1"], "recall", "seat of n2").code == OK
    for name, holder in (("n1", "n1"), ("n2", None), ("n3", "n3")):
        assert ask(some_nodes["n1"], "who", f"seat of {name}").data["holder"] == holder


def test_two_namespaces_in_one_cluster_are_two_polities(cluster: ClusterFactory) -> None:
    both = {"env": {}, "serf_config": {"tags": {"polity": "voter", "lab": "voter"}}}
    nodes = found(cluster(3, voters="agent", **both))
    with ExitStack() as voters:
        for node in nodes.nodes:
            voters.enter_context(node.popen("agent", "--namespace", "lab"))
        assert ask(nodes["n1"], "elect", "leader").data["holder"] == "n1"
        other = ask(nodes["n2"], "elect", "leader", "--namespace", "lab")
        assert (other.code, other.data["holder"], other.data["term"]) == (OK, "n2", 1), other
        assert ask(nodes["n3"], "who", "leader").data["holder"] == "n1"
        assert ask(nodes["n3"], "who", "leader", "--namespace", "lab").data["holder"] == "n2"
