"""Foundings on real agents: complete or refused by name, half done, many at once; one polity in the end."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from polity_cli.devcluster import DevCluster, DevNode, wait_for
from polity_cli.edges.ledger import Ledger
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import NO, OK, UNFIT, Said, ask, ask_all, found, ledger_of, tell

USAGE = 2


def entered(node: DevNode) -> tuple[str, int, str]:
    """Polity, epoch and digest of the record that a node's voter has entered."""
    ledger = Ledger.open(str(ledger_of(node)), node.name, create=False)
    if ledger is None:
        return "", 0, ""
    with closing(ledger):
        me = ledger.me()
        return me.polity.hex(), me.epoch, me.digest.hex()


def assert_one_polity(nodes: DevCluster, polity: str) -> None:
    """Every voter enters this polity, sooner or later: the last word of a founding may be lost once."""
    for _ in range(3):
        if all(entered(node)[:2] == (polity, 1) for node in nodes.nodes):
            break
        # Whoever asks heals a voter that was not told.
        ask_all(nodes.nodes, "who", "healer")
    assert {entered(node)[:2] for node in nodes.nodes} == {(polity, 1)}
    assert len({entered(node)[2] for node in nodes.nodes}) == 1


def test_founding_twice_says_so_on_every_node(cluster: ClusterFactory) -> None:
    nodes = cluster(3, voters="agent")
    first = ask(nodes["n2"], "found", "--expect", "3")
    assert (first.code, first.data["outcome"]) == (OK, "founded"), first
    assert (first.data["population"], first.data["quorum"], first.data["may_fail"]) == (3, 3, 0)
    assert [row["node"] for row in first.data["voters"]] == ["n1", "n2", "n3"]
    for said in ask_all(nodes.nodes, "found"):
        assert (said.code, said.data["outcome"]) == (OK, "already_founded"), said
        assert said.data["polity"] == first.data["polity"], said
    assert_one_polity(nodes, first.data["polity"])


@pytest.mark.parametrize("how", ["its voter is dead", "its agent is dead"])
def test_a_voter_that_does_not_answer_stops_the_founding_by_name(cluster: ClusterFactory, how: str) -> None:
    nodes = cluster(4, voters="agent")
    gone = nodes["n3"]
    if how == "its voter is dead":
        gone.kill_voter()
    else:
        gone.kill()
        wait_for(lambda: nodes["n1"].members()["n3"] == "failed", 30, "Serf to call n3 failed")
    said = ask(nodes["n1"], "found", "--timeout", "3")
    assert (said.code, said.data["outcome"]) == (UNFIT, "error"), said
    assert "n3" in said.talk, said
    assert ("n3 (failed)" in said.talk) == (how == "its agent is dead"), said
    assert not any(f"n{i} (" in said.talk for i in (1, 2, 4)), said
    assert {entered(node)[0] for node in nodes.nodes} == {""}

    # The same holds for a founding by the first election; and nobody founds without n3 when it is back.
    assert ask(nodes["n2"], "elect", "leader", "--timeout", "3").code == UNFIT
    nodes.heal()
    won = ask(nodes["n2"], "elect", "leader")
    assert (won.code, won.data["votes"]["population"]) == (OK, 4), won


def test_a_node_that_left_is_not_asked(cluster: ClusterFactory) -> None:
    nodes = cluster(4, voters="agent")
    nodes["n4"].leave()
    wait_for(lambda: nodes["n1"].members()["n4"] == "left", 30, "Serf to say that n4 left")
    said = ask(nodes["n1"], "found")
    assert (said.code, said.data["population"]) == (OK, 3), said


def test_more_voters_expected_than_there_are_is_refused_with_their_names(cluster: ClusterFactory) -> None:
    nodes = cluster(3, voters="agent")
    said = ask(nodes["n1"], "found", "--expect", "4")
    assert said.code == UNFIT, said
    assert "4 voters" in said.talk, said
    assert all(name in said.talk for name in ("n1", "n2", "n3")), said
    assert {entered(node)[0] for node in nodes.nodes} == {""}


@pytest.mark.parametrize(
    "options",
    [
        ["--percent", "30", "--min-votes", "1"],
        ["--percent", "49", "--min-votes", "2"],
        ["--min-votes", "6"],
        ["--percent", "-1"],
        ["--percent", "101"],
        ["--percent", "nan"],
        ["--min-votes", "0"],
        ["--expect", "0"],
    ],
    ids=" ".join,
)
def test_a_rule_that_is_unsafe_or_can_never_be_met_is_refused(
    shared_cluster: ClusterFactory, options: list[str]
) -> None:
    nodes = shared_cluster(5, voters="agent")
    done = nodes["n1"].polity("found", *options)
    assert done.returncode == (UNFIT if options == ["--min-votes", "6"] else USAGE), done
    assert "Traceback" not in done.stderr
    assert {entered(node)[0] for node in nodes.nodes} == {""}


def test_a_single_node_is_a_polity_only_on_request(cluster: ClusterFactory) -> None:
    nodes = cluster(1, voters="hook")
    refused = ask(nodes["n1"], "elect", "leader")
    assert refused.code == UNFIT, refused
    assert "--expect" in refused.talk, refused
    said = ask(nodes["n1"], "found", "--expect", "1", "--min-votes", "1")
    assert (said.code, said.data["quorum"], said.data["population"]) == (OK, 1, 1), said
    assert ask(nodes["n1"], "elect", "leader").data["outcome"] == "won"
    assert ask(nodes["n1"], "recall", "leader").data["term"] == 2
    assert ask(nodes["n1"], "elect", "leader").data["term"] == 3


def test_two_of_three_suffice_where_that_was_founded(cluster: ClusterFactory) -> None:
    nodes = cluster(3, voters="agent")
    said = ask(nodes["n1"], "found", "--min-votes", "2")
    assert (said.code, said.data["quorum"], said.data["may_fail"]) == (OK, 2, 1), said
    nodes["n3"].kill()
    won = ask(nodes["n1"], "elect", "leader")
    assert (won.code, won.data["votes"]["required"]) == (OK, 2), won
    assert ask(nodes["n2"], "who", "leader").data["holder"] == "n1"


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_the_first_election_founds_also_when_everybody_stands_at_once(
    cluster: ClusterFactory, voters: str
) -> None:
    nodes = cluster(5, voters=voters)
    answers = ask_all(nodes.nodes, "elect", "leader", "--timeout", "90", "--verbose", timeout_s=120)
    winners = [said for said in answers if said.code == OK]
    assert len(winners) == 1, tell(answers)
    assert {said.code for said in answers} == {OK, NO}, tell(answers)
    told = {(said.data["holder"], said.data["term"]) for said in answers}
    assert told == {(winners[0].node, 1)}, tell(answers)
    assert_one_polity(nodes, ask(nodes["n1"], "voters").data["polity"])


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_foundings_from_all_nodes_at_once_give_one_polity(cluster: ClusterFactory, voters: str) -> None:
    nodes = cluster(5, voters=voters)
    answers = ask_all(nodes.nodes, "found", "--timeout", "90", "--verbose", timeout_s=120)
    assert {said.code for said in answers} == {OK}, tell(answers)
    polities = {said.data["polity"] for said in answers}
    assert len(polities) == 1, tell(answers)
    assert "founded" in {said.data["outcome"] for said in answers}, tell(answers)
    assert_one_polity(nodes, polities.pop())


ROUNDS = 10


def test_a_founding_killed_at_any_point_is_completed_or_adopted_by_the_next(cluster: ClusterFactory) -> None:
    draw = random.Random(1)
    went_on = set()
    for number in range(ROUNDS):
        nodes = cluster(3, voters="agent")
        try:
            lines = draw.randrange(1, 18)
            said = kill_after(nodes["n1"], lines)
            traces = [entered(node) for node in nodes.nodes]
            second = ask(nodes["n2"], "found", "--verbose")
            context = f"round {number}, killed after\n{said}\nthen {second}"
            assert second.code == OK, context
            went_on.add((second.data["outcome"], any(polity for polity, *_ in traces)))
            assert_one_polity(nodes, second.data["polity"])
            for polity, *_ in traces:
                assert polity in ("", second.data["polity"]), context
            won = ask(nodes["n3"], "elect", "leader")
            assert (won.code, won.data["term"]) == (OK, 1), f"{context}\n{won}"
        finally:
            nodes.stop()
    assert len(went_on) > 1, "every founding was killed at the same stage"


def kill_after(node: DevNode, lines: int) -> str:
    """Kills `polity found` with SIGKILL once it has told so many steps, or has ended; returns its talk."""
    talk = []
    with node.popen("found", "--verbose") as founder:
        assert founder.stderr is not None
        for _ in range(lines):
            line = founder.stderr.readline()
            if not line:
                break
            talk.append(line)
        founder.kill()
        founder.wait()
    return "".join(talk)


def test_a_founder_that_stands_still_finds_its_polity_founded_by_another(cluster: ClusterFactory) -> None:
    """SIGSTOP in the middle: when it goes on its promises are outbid, and it must not found another one."""
    import signal

    nodes = cluster(3, voters="agent")
    with nodes["n1"].popen("found", "--json", "--verbose") as slow:
        assert slow.stderr is not None
        for line in slow.stderr:
            if "--> offer" in line:
                break
        slow.send_signal(signal.SIGSTOP)
        other = ask(nodes["n2"], "found")
        assert (other.code, other.data["outcome"]) == (OK, "founded"), other
        slow.send_signal(signal.SIGCONT)
        out, talk = slow.communicate(timeout=60)
    assert slow.returncode == OK, talk
    assert f'"polity": "{other.data["polity"]}"' in out, talk
    assert_one_polity(nodes, other.data["polity"])


def test_two_polities_that_meet_are_both_named_and_neither_decides_for_the_other(
    cluster: ClusterFactory,
) -> None:
    left = found(cluster(3, voters="agent", name_prefix="left"))
    right = found(cluster(3, voters="agent", name_prefix="right"))
    ids = [ask(side.nodes[0], "voters").data["polity"] for side in (left, right)]
    assert ids[0] != ids[1]
    assert ask(left["left1"], "elect", "leader").code == OK
    assert ask(right["right1"], "elect", "leader").code == OK

    # Each of them: gossip of a single join may get lost, and Serf mends that after half a minute.
    for node in left.nodes:
        node.join([other.bind_addr for other in right.nodes])
    everybody = [*left.nodes, *right.nodes]
    wait_for(lambda: all(len(node.members()) == 6 for node in everybody), 30, "the clusters to meet")
    for said in [ask(node, *order) for node in everybody for order in (["who", "leader"], ["elect", "x"])]:
        assert_meeting_is_noticed(said, ids)
    refused = ask(left["left2"], "found", "--expect", "6")
    assert refused.code in (OK, UNFIT), refused


def assert_meeting_is_noticed(said: Said, ids: list[str]) -> None:
    """An answer may be there before a node of the other polity speaks; if not, both must be named."""
    if said.code != OK and said.code != NO:
        assert said.code == UNFIT, said
        assert all(polity in said.talk for polity in ids), said
