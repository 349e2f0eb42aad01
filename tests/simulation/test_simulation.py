"""Thousands of random schedules of the shipped rules, each judged.

A failure names its seed and the command that replays it, with the shortest conversation in which it shows.
Run more of them with `pytest tests/simulation --schedules 100000 --first-seed 1`, or on all cores with
`python -m tests.simulation --random 100000`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polity_cli.core.operation import Verdict
from polity_cli.edges.simnet_crash import Point
from tests.simulation import campaign
from tests.simulation.bugs import BUGS
from tests.simulation.campaign import Totals, explain, shape_of
from tests.simulation.disks import SqliteDisks
from tests.simulation.plan import What
from tests.simulation.schedule import schedule
from tests.simulation.world import SHAPES

ROOT = Path(__file__).parents[2]


@pytest.mark.proved
@pytest.mark.parametrize("shape", SHAPES)
def test_random_schedules_break_no_promise(shape: str, request: pytest.FixtureRequest) -> None:
    first, count = (request.config.getoption(o) for o in ("--first-seed", "--schedules"))
    _, failure = campaign.run(range(first, first + count), shape)
    assert failure is None, explain(failure)


FAULTS = {
    *("loss", "delay", "copy", "overtaking", "slow node", "stray answer", "one-way cut", "two-way cut"),
    *(f"dies {point.value}" for point in Point),
    *(What.CRASH.value, What.RESTART.value, "starts without its ledger"),
    *(What.PAUSE.value, What.RESUME.value, "refusal", "dies", "several roles"),
}
"""Everything that may go wrong in a schedule; "dies" is what a proposer does."""


def test_schedules_are_wild_enough_to_prove_something() -> None:
    totals = Totals()
    again, died = 0, set()
    for seed in range(400):
        storm = schedule(seed, shape_of(seed))
        totals.count(storm)
        again += sum(op.state.attempts > 1 for op in storm.ops)
        died |= {op.state.phase for op in storm.ops if op.stopped}
    assert set(totals.verdicts) == {*Verdict, None}
    assert set(totals.befell) == FAULTS
    assert min(totals.befell.values()) >= 15
    assert again >= 40
    assert len(died) >= 5, "proposers die in every phase but the last"
    assert max(totals.terms) >= 4


def test_one_seed_makes_one_schedule() -> None:
    transcripts = [schedule(11, "5", transcript=True).transcript for _ in range(2)]
    assert transcripts[0]
    assert transcripts[0] == transcripts[1]
    assert transcripts[0] != schedule(12, "5", transcript=True).transcript


def test_one_seed_makes_one_transcript_in_every_process() -> None:
    def replay(seed: str) -> bytes:
        command = [sys.executable, "-m", "tests.simulation", "14", "5"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout

    first = replay("1")
    assert first.count(b"\n") > 50
    assert first == replay("2")


def test_real_ledgers_and_their_twins_make_the_same_conversation(tmp_path: Path) -> None:
    wanted = {f"dies {point.value}" for point in Point} | {"starts again", "starts without its ledger"}
    for seed in range(500):
        in_memory = schedule(seed, shape_of(seed), transcript=True)
        if wanted & set(in_memory.befell):
            wanted -= set(in_memory.befell)
            folder = tmp_path / str(seed)
            folder.mkdir()
            disks = SqliteDisks(folder)
            on_disk = schedule(seed, shape_of(seed), transcript=True, disks=disks)
            disks.close()
            assert on_disk.transcript == in_memory.transcript
        if not wanted:
            return
    pytest.fail(f"no schedule has {wanted}")


def test_processes_share_the_work_and_agree_on_what_came_of_it() -> None:
    alone, _ = campaign.run(range(450))
    shared, failure, _ = campaign.campaign(0, 450, jobs=2)
    assert failure is None
    assert shared.schedules == 450
    assert str(shared) == str(alone)


def test_the_first_failure_is_told_with_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS["fast_quorum_is_the_classic_one"](monkeypatch)
    totals, failure, _ = campaign.campaign(0, 600, jobs=2)
    assert failure is not None
    assert totals.schedules == failure.seed
    told = explain(failure)
    assert f"replay: python -m tests.simulation {failure.seed} {failure.shape}" in told
    assert "calls chosen what is not" in told


@pytest.mark.parametrize("error", [RuntimeError("the judge is ill"), RecursionError()], ids=str)
def test_an_exception_in_the_judge_is_a_failure(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: object) -> None:
        raise error

    monkeypatch.setattr("tests.simulation.witness.judge", judge)
    _, failure = campaign.run(range(3))
    assert failure is not None
    assert type(error).__name__ in failure.error


def test_a_judge_that_finds_no_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr("tests.simulation.witness.judge", judge)
    monkeypatch.setattr(campaign, "TOO_LONG_S", 0.2)
    _, failure = campaign.run(range(3))
    assert failure is not None
    assert "TooLong" in failure.error
    assert "replay: " in explain(failure)
