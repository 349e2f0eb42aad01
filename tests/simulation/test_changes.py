"""Changes of the electorate in random schedules, judged, and the bugs that are planted in them.

More of them: `python -m tests.simulation --changes --random 10000`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from polity_cli import booth
from polity_cli.core import change_state
from polity_cli.core import messages as m
from polity_cli.core.ballot import Ballot
from polity_cli.core.electorate import Electorate
from polity_cli.core.operation import Purpose
from polity_cli.core.tenure import VACANT, Tenure
from polity_cli.edges import wire
from tests.judging.operation import Violation
from tests.simulation import campaign, change_bugs, chaos
from tests.simulation.campaign import CHANGES, Totals, explain, shape_of
from tests.simulation.change_situations import (
    SITUATIONS,
    Stage,
    an_election_goes_on_while_the_electorate_changes,
)
from tests.simulation.courses import COURSES, FIVE, OTHERS, THREE, founding_of
from tests.simulation.disks import SqliteDisks
from tests.simulation.epochs import EpochWatch, Records
from tests.simulation.planted import CHANGES as COURSE_OF
from tests.simulation.planted import ENOUGH_CHANGES
from tests.simulation.schedule import schedule
from tests.simulation.shrink import shorten
from tests.simulation.upheaval import Upheaval
from tests.simulation.world import voter_id


@pytest.mark.parametrize("course", COURSES)
def test_changes_in_random_schedules_break_no_promise(course: str, request: pytest.FixtureRequest) -> None:
    first, count = (request.config.getoption(o) for o in ("--first-seed", "--schedules"))
    _, failure = campaign.run(range(first, first + count // 30), course)
    assert failure is None, explain(failure)


def test_schedules_with_changes_are_wild_enough_to_prove_something() -> None:
    totals = Totals()
    died, epochs, went_on = set(), set(), 0
    for seed in range(160):
        storm = schedule(seed, shape_of(seed, CHANGES))
        assert isinstance(storm, Upheaval)
        totals.count(storm)
        died |= {op.state.phase for op in storm.changes if op.stopped}
        epochs |= {op.state.electorate.epoch for op in storm.ops if op.outcome is not None}
        went_on += sum(op.state.electorate.epoch > op.electorate.epoch for op in storm.ops)
    assert set(totals.changes) == {*change_state.Verdict, None}
    seldom = {change_state.Phase.READ, change_state.Phase.LEARN, change_state.Phase.YIELD}
    assert died >= {*change_state.Phase} - seldom - {change_state.Phase.DONE}
    assert epochs >= {1, 2, 3, 5}, "operations end in stable and in joint epochs"
    assert went_on >= 50


def test_one_seed_makes_one_schedule_with_changes_on_real_ledgers_too(tmp_path: Path) -> None:
    for seed, course in enumerate(("3-others", "1-3", "5-3")):
        first = schedule(seed, course, transcript=True).transcript
        assert first
        assert first == schedule(seed, course, transcript=True).transcript
        folder = tmp_path / course
        folder.mkdir()
        disks = SqliteDisks(folder)
        assert first == schedule(seed, course, transcript=True, disks=disks).transcript
        disks.close()


@pytest.mark.parametrize("course", ["3-4", "4-3", "5-3", "3-renewed"])
def test_records_of_many_pages_travel_as_deltas_and_break_no_promise(
    course: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: Counter[type] = Counter()
    answer = booth.handle

    def handle(ledger: booth.VoterLedger, message: m.Message) -> m.Reply | None:
        kinds[type(message)] += 1
        return answer(ledger, message)

    monkeypatch.setattr(wire, "PAGE_BYTES", 48)
    monkeypatch.setattr(booth, "handle", handle)
    _many(course, 60)
    assert kinds[m.Delta] > 500
    assert kinds[m.Offer] > 500


# Planted bugs.


@pytest.mark.parametrize("name", COURSE_OF)
def test_random_changes_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change_bugs.BUGS[name](monkeypatch)
    with pytest.raises(Violation, match=r"^S[1235]: ") as caught:
        _many(COURSE_OF[name], ENOUGH_CHANGES)
    assert any(f" {COURSE_OF[name]}" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_change_made_on_purpose_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    course, situation = SITUATIONS[name]
    situation(Stage(course))
    change_bugs.BUGS[name](monkeypatch)
    with pytest.raises(Violation, match=r"^S[12]: "):
        situation(Stage(course))


def test_a_voter_that_lost_its_ledger_and_kept_its_id_is_caught_among_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chaos, "stranger_id", voter_id)
    with pytest.raises(Violation, match=r"^S5: n2 goes back from epoch"):
        _many("3-renewed", ENOUGH_CHANGES)


def test_every_bug_of_a_change_is_caught_somehow() -> None:
    assert set(change_bugs.BUGS) == set(COURSE_OF) | set(SITUATIONS)


@pytest.mark.parametrize("name", change_bugs.HARMLESS)
def test_what_is_harmless_in_a_change_is_not_accused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change_bugs.HARMLESS[name](monkeypatch)
    for course in ("1-3", "3-5", "3-others"):
        _many(course, 20)


@pytest.mark.parametrize("plant", ["", "a_ballot_goes_on_in_the_next_epoch"])
def test_an_election_goes_on_at_any_step_of_a_change(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if plant:
        change_bugs.HARMLESS[plant](monkeypatch)
    steps = 0
    while an_election_goes_on_while_the_electorate_changes(Stage("3-others"), steps):
        steps += 1
    assert steps > 60


def test_a_change_that_breaks_a_promise_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    change_bugs.BUGS["fast_votes_of_old_are_judged_by_the_new_roll"](monkeypatch)
    seed = next(seed for seed in range(ENOUGH_CHANGES) if _fails(seed, "1-3"))
    short = shorten(seed, "1-3", patience_s=5)
    print(short)
    assert short.violation.startswith("S2: ")
    assert short.kept < short.of / 2
    assert any("list-roles" in line for line in short.transcript)


def _many(course: str, count: int) -> None:
    for seed in range(count):
        schedule(seed, course)


def _fails(seed: int, course: str) -> bool:
    try:
        schedule(seed, course)
    except Violation:
        return True
    return False


# The judge of epochs.

FOUNDING = founding_of("3-others")
JOINT = FOUNDING.joint_with(OTHERS.roll)
B, C = Ballot(1, b"b"), Ballot(2, b"c")
T1 = Tenure(1, "n0", b"E0")


def records() -> Records:
    """Of three voters in the first epoch."""
    known = Records(FOUNDING, {elect.roll: elect.body for elect in (THREE, OTHERS, FIVE)})
    for voter in ("n0", "n1", "n2"):
        enter(known, voter, FOUNDING)
    return known


def enter(known: Records, voter: str, record: Electorate) -> None:
    data = wire.encode_record(record)
    known.entered(voter, record.epoch, wire.digest(data), data)


def accept(known: Records, voters: str, record: Electorate, ballot: Ballot = B) -> None:
    value = Tenure(record.epoch, wire.digest(wire.encode_record(record)).hex(), b"claim")
    for voter in voters:
        known.accepted(f"n{voter}", m.Register(ballot, ballot, value))


def test_a_record_is_entered_once_a_quorum_has_accepted_it_at_one_ballot() -> None:
    known = records()
    accept(known, "0", JOINT)
    accept(known, "1", JOINT, C)
    with pytest.raises(Violation, match="S5: n0 enters a record of epoch 2 that is not chosen"):
        enter(known, "n0", JOINT)
    known = records()
    accept(known, "01", JOINT)
    enter(known, "n0", JOINT)
    assert known.is_chosen(JOINT)
    assert known.newest == JOINT


def test_two_records_of_one_epoch_are_refused() -> None:
    known = records()
    accept(known, "01", JOINT)
    with pytest.raises(Violation, match="S5: two records of epoch 2 are chosen"):
        accept(known, "12", FOUNDING.joint_with(FIVE.roll), C)
    enter(known, "n0", JOINT)
    with pytest.raises(Violation, match="S5: two records of epoch 2 are entered"):
        enter(known, "n1", FOUNDING.joint_with(FIVE.roll))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (JOINT._replace(rolls=(FIVE.roll, OTHERS.roll)), "does not follow"),
        (
            JOINT._replace(rolls=(THREE.roll, THREE.roll._replace(voters=THREE.roll.voters[:2]))),
            "nobody wants",
        ),
    ],
)
def test_a_record_that_does_not_follow_is_refused(record: Electorate, why: str) -> None:
    known = records()
    accept(known, "01", record)
    with pytest.raises(Violation, match=why):
        enter(known, "n0", record)


def test_nobody_goes_back_to_an_older_epoch() -> None:
    known = records()
    accept(known, "01", JOINT)
    enter(known, "n0", JOINT)
    with pytest.raises(Violation, match="goes back"):
        enter(known, "n0", FOUNDING)


def joint() -> tuple[Records, EpochWatch]:
    """All six in the joint epoch."""
    known = records()
    accept(known, "01", JOINT)
    for number in range(6):
        enter(known, f"n{number}", JOINT)
    return known, EpochWatch(known)


def remember(watch: EpochWatch, voters: str, ballot: Ballot, tenure: Tenure) -> None:
    for voter in voters:
        watch.remembers(f"n{voter}", m.Register(ballot, ballot, tenure))


def test_in_a_joint_epoch_both_rolls_choose() -> None:
    for voters, is_chosen in (("01", False), ("345", False), ("0134", True)):
        _, watch = joint()
        remember(watch, voters, B, VACANT)
        assert watch.has_chosen(B, VACANT) is is_chosen, voters


def test_fast_votes_choose_in_stable_epochs_only() -> None:
    known = records()
    watch = EpochWatch(known)
    remember(watch, "012", Ballot(0, b"", 1), T1)
    assert watch.has_chosen(Ballot(0, b"", 1), T1)
    _, watch = joint()
    remember(watch, "012345", Ballot(0, b"", 1), T1)
    assert not watch.has_chosen(Ballot(0, b"", 1), T1)


def test_votes_of_different_epochs_are_not_added_up_until_their_voters_meet() -> None:
    known = records()
    watch = EpochWatch(known)
    accept(known, "01", JOINT)
    remember(watch, "0", B, VACANT)
    for number in range(1, 6):
        enter(known, f"n{number}", JOINT)
    remember(watch, "134", B, VACANT)
    assert not watch.has_chosen(B, VACANT)
    enter(known, "n0", JOINT)
    watch.entered("n0")
    assert watch.has_chosen(B, VACANT)


def test_a_stage_ends_when_nobody_answers() -> None:
    stage = Stage("3-others")
    op = stage.begin(Purpose.QUERY, 0)
    stage.let(op, ())
    assert op.is_active
    assert len(op.sent) > 1
