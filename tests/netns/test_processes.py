"""kill -9 and SIGSTOP: of Serf, of the voter, of a whole node, and of a candidate between its two phases."""

from __future__ import annotations

import pytest

from tests.netns.conftest import Fields
from tests.netns.field import Field
from tests.serf.verbs import NO, NO_QUORUM, OK, SERF, UNKNOWN, VACANT, Said, tell

SHORT = ("--timeout", "2")
HITS = ["kill_serf", "pause_serf", "kill_voter", "pause_voter", "kill", "pause"]


@pytest.mark.parametrize("verb", HITS)
def test_two_of_five_may_fall_and_with_three_nothing_is_decided(field: Fields, verb: str) -> None:
    it = field(5)
    role, other = it.role(), it.role("other")
    it.hit(verb, "n4", "n5")
    won = it.ask("n1", "elect", role)
    assert (won.code, won.data["term"]) == (OK, 1), won
    recalled = it.ask("n2", "recall", role, "--holder", "n1")
    assert (recalled.code, recalled.data["term"]) == (OK, 2), recalled
    again = it.ask("n3", "elect", role)
    assert (again.code, again.data["term"]) == (OK, 3), again

    it.hit(verb, "n3")
    answers = it.ask_all(
        [
            ("n1", ("elect", other, *SHORT)),
            ("n2", ("recall", role, *SHORT)),
            ("n2", ("who", role, *SHORT)),
            ("n5", ("elect", other, *SHORT)),
        ]
    )
    for said in answers[:3]:
        assert said.code in (NO_QUORUM, UNKNOWN), said
        assert set(said.data["silent"]) >= {"n3", "n4", "n5"}, said
    # Where the agent does not answer, nothing can have been asked for.
    assert answers[3].code in ((NO_QUORUM, UNKNOWN) if "voter" in verb else (SERF,)), answers[3]

    it.cluster.heal()
    assert it.agree(role) == ("n3", 3)
    it.agree(other)


def halted(it: Field, command: str, role: str) -> None:
    """Prepares the role so that `command` on n1 takes two phases."""
    if command == "recall":
        assert it.ask("n1", "elect", role).code == OK
    else:
        # Without a fast quorum of four an election needs its second phase.
        it.hit("pause_voter", "n4", "n5")


def resume(it: Field) -> None:
    for node in it.cluster.nodes:
        node.resume()


@pytest.mark.parametrize("halt", ["before:accept", "after:accept"])
@pytest.mark.parametrize("command", ["elect", "recall"])
def test_an_operation_killed_between_its_phases_happened_or_not(
    field: Fields, command: str, halt: str
) -> None:
    it = field(5)
    role = it.role()
    halted(it, command, role)
    with it.begin("n1", command, role, halt=halt) as candidate:
        candidate.wait_halted()
        it.record.fault(f"kill {command}")
        candidate.kill()
        candidate.end()
    resume(it)
    holder, term = it.agree(role)
    if halt == "before:accept" and command == "recall":
        assert (holder, term) == ("n1", 1), "a prepare changes nothing"
    next_one = it.ask("n4", "elect", role)
    assert next_one.code == (NO if holder else OK), next_one
    assert next_one.data["term"] == (term if holder else term + 1), next_one


@pytest.mark.parametrize("halt", ["before:accept", "after:accept"])
def test_a_candidate_that_slept_does_not_overwrite_its_successor(field: Fields, halt: str) -> None:
    it = field(5)
    role = it.role()
    halted(it, "elect", role)
    with it.begin("n1", "elect", role, halt=halt) as candidate:
        candidate.wait_halted()
        it.record.fault("pause candidate")
        resume(it)
        successor = elect_successor(it, role)
        candidate.go_on()
        woken = candidate.end()
    # It may have won before it was recalled, and then says so; it may have lost; it may not know.
    assert woken.code in (OK, NO, UNKNOWN), woken
    if woken.code == OK:
        assert woken.data["term"] < successor.data["term"], tell([successor, woken])
    assert it.agree(role) == ("n4", successor.data["term"]), tell([successor, woken])


@pytest.mark.parametrize("halt", ["before:accept", "after:accept"])
def test_a_recaller_that_slept_does_not_recall_whoever_came_after(field: Fields, halt: str) -> None:
    it = field(5)
    role = it.role()
    assert it.ask("n2", "elect", role).code == OK
    with it.begin("n1", "recall", role, "--holder", "n2", halt=halt) as recaller:
        recaller.wait_halted()
        it.record.fault("pause recaller")
        successor = elect_successor(it, role)
        recaller.go_on()
        woken = recaller.end()
    assert woken.code in (OK, NO, 4, UNKNOWN), woken
    if woken.code == OK:
        assert woken.data["term"] < successor.data["term"], tell([successor, woken])
    assert it.agree(role) == ("n4", successor.data["term"]), tell([successor, woken])


def elect_successor(it: Field, role: str) -> Said:
    """Empties the role as often as it takes, and has n4 elected."""
    holder, _ = it.agree(role)
    if holder is not None:
        # What was sent before may take effect first.
        assert it.ask("n3", "recall", role).code in (OK, VACANT)
    successor = it.ask("n4", "elect", role)
    assert successor.code == OK, successor
    return successor
