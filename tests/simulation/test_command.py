"""`python -m tests.simulation`, as a command: what it prints, and its exit code."""

from __future__ import annotations

import sys

import pytest

from tests.simulation.__main__ import main
from tests.simulation.bugs import BUGS


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["simulation", *arguments])
    return main()


def test_it_says_how_fast_it_was_and_what_it_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--random", "60", "--jobs", "1", "--first-seed", "500") == 0
    out = capsys.readouterr().out
    assert out.startswith("60 schedules in ")
    assert "a second" in out
    for line in ("verdicts: ", "faults: ", "highest term of a schedule: ", "no promise was broken"):
        assert line in out


def test_it_stops_when_its_minutes_are_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--minutes", "0.001", "--jobs", "1") == 0
    assert "no promise was broken" in capsys.readouterr().out


def test_a_failure_has_an_exit_code_a_command_and_a_short_trace_and_the_command_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    BUGS["fast_quorum_is_the_classic_one"](monkeypatch)
    assert call(monkeypatch, "--random", "400", "--jobs", "1") == 1
    many = capsys.readouterr().out
    (replay,) = [line for line in many.splitlines() if line.startswith("replay: python -m tests.simulation ")]
    assert "shortened from" in many
    assert call(monkeypatch, *replay.split()[-2:]) == 1
    one = capsys.readouterr().out
    assert one.strip() in many
    assert call(monkeypatch, *replay.split()[-2:], "--full") == 1
    full = capsys.readouterr().out
    assert "shortened" not in full
    assert "calls chosen what is not" in full


def test_without_a_seed_it_says_what_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch)
    assert stopped.value.code == 2
