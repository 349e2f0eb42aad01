"""When a node recalls and when it stands, as a function of what it sees; and how it runs `only_if`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from polity_cli.core.succession import (
    GAP_S,
    SETTLE_S,
    STIR_S,
    UNHEARD_S,
    VACANT_S,
    Act,
    Sight,
    State,
    Succession,
    Vigil,
    due,
    look,
    rested,
    turn_s,
)
from polity_cli.core.tenure import VACANT, Tenure
from polity_cli.devcluster import wait_for
from polity_cli.edges.fitness import Fitness

HELD = Tenure(7, "n1", b"claim---")
EMPTY = HELD.emptied(b"claim-2-")
WISH = Succession("job", takeover_delay=10.0)
LONG_AGO = -1000.0


def seen(*sights: tuple[float, Sight | str | None], me: str = "n2") -> Vigil:
    """A vigil after these looks; a word is Serf's for the holder of HELD."""
    vigil = None
    for now_s, sight in sights:
        given = sight if isinstance(sight, Sight) else Sight(HELD, sight)
        vigil = look(vigil, given, me, now_s)
    assert vigil is not None
    return vigil


def when(vigil: Vigil, wish: Succession = WISH, *, turn: float = 0.0, steady: float = LONG_AGO) -> object:
    return due(vigil, wish, turn_s=turn, steady_since_s=steady)


def looks(
    status: str | None, start_s: float, end_s: float, step_s: float = 1.0
) -> list[tuple[float, str | None]]:
    count = int((end_s - start_s) / step_s)
    return [(start_s + step * step_s, status) for step in range(count + 1)]


@pytest.mark.parametrize("status", ["alive", "leaving"])
def test_a_holder_that_is_there_is_left_alone(status: str) -> None:
    vigil = seen((0.0, status))
    assert (vigil.state, when(vigil)) == (State.HELD, None)


@pytest.mark.parametrize("status", ["failed", "left"])
def test_a_holder_that_is_gone_is_recalled_after_the_delay_and_ones_turn(status: str) -> None:
    vigil = seen((100.0, status), (101.0, status))
    assert when(vigil) == (Act.RECALL, 110.0)
    assert when(vigil, turn=0.5) == (Act.RECALL, 110.5)
    assert when(vigil, WISH._replace(takeover_delay=0)) == (Act.RECALL, 100.0)


def test_from_failed_to_left_or_forgotten_it_is_one_absence() -> None:
    vigil = seen((100.0, "failed"), (101.0, "left"), (102.0, None))
    assert (vigil.state, when(vigil, WISH._replace(takeover_delay=30.0))) == (
        State.UNHEARD,
        (Act.RECALL, 130.0),
    )


def test_a_holder_that_is_no_member_may_only_not_have_been_heard_of_yet() -> None:
    vigil = seen((100.0, None))
    assert when(vigil, WISH._replace(takeover_delay=0)) == (Act.RECALL, 100.0 + UNHEARD_S)
    assert when(vigil, WISH._replace(takeover_delay=50.0)) == (Act.RECALL, 150.0)


def test_a_comeback_ends_the_absence_and_the_next_one_begins_anew() -> None:
    vigil = seen(*looks("failed", 100.0, 109.0), (109.5, "alive"))
    assert when(vigil) is None
    vigil = look(vigil, Sight(HELD, "failed"), "n2", 109.9)
    assert when(vigil) == (Act.RECALL, 119.9)


def test_a_new_term_is_another_absence() -> None:
    again = HELD._replace(term=9)
    vigil = seen(*looks("failed", 100.0, 109.0), (109.5, Sight(again, "failed")))
    assert (vigil.tenure, when(vigil)) == (again, (Act.RECALL, 119.5))


def test_who_did_not_look_for_long_does_not_know_that_it_was_away_all_the_time() -> None:
    vigil = seen((100.0, "failed"), (100.0 + GAP_S + 1, "failed"))
    assert when(vigil) == (Act.RECALL, 100.0 + GAP_S + 1 + 10.0)


def test_a_view_without_a_quorum_counts_from_when_it_has_one_again() -> None:
    vigil = seen((100.0, "failed"))
    assert when(vigil, steady=104.0) == (Act.RECALL, 110.0)
    assert when(vigil, steady=108.0) == (Act.RECALL, 108.0 + SETTLE_S)
    assert when(vigil, WISH._replace(takeover_delay=0), steady=99.0) == (Act.RECALL, 99.0 + SETTLE_S)


def test_a_vacant_role_is_stood_for_after_a_moment() -> None:
    vigil = seen((0.0, "alive"), (5.0, Sight(EMPTY, None)))
    assert when(vigil) == (Act.STAND, 5.0 + VACANT_S)
    assert when(vigil, turn=0.25, steady=5.0) == (Act.STAND, 5.25 + VACANT_S), "no settling for that"
    never = seen((5.0, Sight(VACANT, None)))
    assert when(never) == (Act.STAND, 5.0 + VACANT_S)


def test_who_gave_it_up_lets_others_go_first() -> None:
    vigil = seen((0.0, "alive"), (5.0, Sight(EMPTY, None)), (6.0, Sight(EMPTY, None)), me="n1")
    assert when(vigil) == (Act.STAND, 5.0 + 2 * VACANT_S)


def test_who_is_no_candidate_may_recall_and_who_does_not_recall_may_stand() -> None:
    gone, vacant = seen((0.0, "failed")), seen((0.0, Sight(EMPTY, None)))
    only_recalls = WISH._replace(candidate=False)
    assert (when(gone, only_recalls), when(vacant, only_recalls)) == ((Act.RECALL, 10.0), None)
    only_stands = WISH._replace(recall=False)
    assert (when(gone, only_stands), when(vacant, only_stands)) == (None, (Act.STAND, VACANT_S))


def test_somebody_who_is_at_it_gets_time() -> None:
    vigil = seen((100.0, Sight(HELD, "failed", "mark")), (109.9, Sight(HELD, "failed", "other mark")))
    assert when(vigil) == (Act.RECALL, 109.9 + STIR_S)
    vigil = look(vigil, Sight(HELD, "failed", "other mark"), "n2", 110.5)
    assert when(vigil) == (Act.RECALL, 109.9 + STIR_S)
    fresh = seen((0.0, Sight(HELD, "alive", "mark")), (5.0, Sight(EMPTY, None, "other mark")))
    assert when(fresh) == (Act.STAND, 5.0 + VACANT_S), "what has just been decided is nobody being at it"


def test_after_an_attempt_in_vain_the_next_comes_later_each_time() -> None:
    vigil = seen((0.0, "failed"))
    rests = []
    for _ in range(8):
        vigil = rested(vigil, 100.0)
        found = when(vigil)
        assert isinstance(found, tuple)
        rests.append(found[1] - 100.0)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert look(vigil, Sight(HELD, "alive"), "n2", 1.0).failures == 0


def test_turns_are_apart_and_priorities_come_one_after_the_other() -> None:
    nodes = {f"n{number}" for number in range(1, 6)}
    for role in ("job", "primary", "x"):
        turns = sorted(turn_s(node, nodes, role, 0) for node in nodes)
        assert turns[0] == 0.0
        assert all(later - earlier >= 0.19 for earlier, later in itertools.pairwise(turns))
        assert turns[-1] < min(turn_s(node, nodes, role, 1) for node in nodes)
    firsts = {min(nodes, key=lambda node: turn_s(node, nodes, role, 0)) for role in "abcde"}
    assert firsts == nodes, "the roles of one machine do not all go to the same node"
    assert turn_s("n9", nodes, "job", 0) < 1.0, "who is not seen alive by itself has a turn all the same"
    assert max(turn_s(f"n{i}", {f"n{i}" for i in range(200)}, "job", 0) for i in range(200)) < 1.0


# The command `only_if`.


def verdict_of(check: Fitness) -> str:
    found: list[str] = []

    def has_ended() -> bool:
        found.extend(filter(lambda verdict: verdict is not None, [check.verdict()]))  # type: ignore[arg-type]
        return bool(found)

    wait_for(has_ended, 20, "the command to end")
    return found[0]


def check(*argv: str, limit_s: float = 20.0) -> Fitness:
    return Fitness(Succession("the job", only_if=argv, only_if_timeout=limit_s), "n1")


def test_the_exit_code_says_whether_a_node_is_fit(tmp_path: Path) -> None:
    assert verdict_of(check("true")) == ""
    assert verdict_of(check("/bin/sh", "-c", "exit 4")) == "only_if ended with 4"
    assert verdict_of(check("/none/such")) == "only_if cannot be started: No such file or directory"
    told = tmp_path / "told"
    assert verdict_of(check("/bin/sh", "-c", f"echo $POLITY_ROLE of $POLITY_NODE >{told}")) == ""
    assert told.read_text() == "the job of n1\n"


def test_a_command_that_hangs_is_a_no_and_is_ended_with_all_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    hanging = check("/bin/sh", "-c", f"sleep 60 & echo $! >{started}; wait", limit_s=3.0)
    wait_for(lambda: started.exists() and started.read_text().endswith("\n"), 3, "it to start")
    assert verdict_of(hanging) == "only_if did not end within 3 s"
    stat = Path(f"/proc/{int(started.read_text())}/stat")
    wait_for(lambda: not stat.exists() or ") Z " in stat.read_text(), 10, "what it started to end")
