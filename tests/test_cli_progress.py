"""What --verbose tells of messages and answers, so that an operator sees why."""

from __future__ import annotations

import pytest

from polity_cli.asking import Got, Sent, Waiting
from polity_cli.cli.progress import Progress
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.tenure import VACANT
from polity_cli.edges.network import Node

EARLIER, NOW = b"earlier!", b"attempt!"
STOOD = VACANT.filled_by("n1", b"claim000")


def stand(attempt: bytes) -> m.Stand:
    return m.Stand(attempt, b"polity00", 1, "backup", ZERO, VACANT, STOOD, Ballot(1, attempt))


def voted(attempt: bytes) -> m.State:
    return m.State(attempt, b"voter001", b"polity00", 1, Ballot(1, attempt), ZERO.fast, STOOD, ZERO, VACANT)


@pytest.fixture
def progress() -> Progress:
    shown = Progress(verbose=True, started=0.0)
    shown.members = lambda: (Node("n2", "alive", True), Node("n4", "failed", True))
    shown(Sent(stand(EARLIER), False, 0.0))
    shown(Sent(stand(NOW), False, 0.1))
    return shown


@pytest.mark.parametrize(
    ("got", "told"),
    [
        (Got("n2", voted(NOW), True, 0.2), "<-- n2: YES; promised "),
        (Got("n2", voted(NOW), False, 0.2), "(ignored: a stranger, voter 766f746572303031"),
        (Got("n2", voted(EARLIER), False, 0.2), "(ignored: late, of an earlier attempt)"),
        (Got("n2", voted(b"another!"), False, 0.2), "(ignored: answers nothing that was asked here)"),
        (Got("n2\x1b[2J", voted(NOW), True, 0.2), "<-- n2\\x1b[2J: "),
    ],
)
def test_an_answer_is_told_with_its_vote_and_why_it_does_not_count(
    progress: Progress, capsys: pytest.CaptureFixture[str], got: Got, told: str
) -> None:
    capsys.readouterr()
    progress(got)
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1


def test_a_wait_names_who_is_missing_with_serfs_word_for_them(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    progress(Waiting("stand", 1, 3, ("n2", "n4", "n5"), 0.5))
    told = "waiting: 1 of 3 votes; no answer yet from n2, n4 (failed), n5 (gone)"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("count", "told"), [(1, "1 answer could"), (2, "2 answers could")])
def test_answers_that_made_no_sense_are_counted(
    progress: Progress, capsys: pytest.CaptureFixture[str], count: int, told: str
) -> None:
    progress.end(count)
    assert told in capsys.readouterr().err


def test_voters_that_were_set_back_are_named_with_the_way_out(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.end(0, ("n2", "n3"))
    told = capsys.readouterr().err
    assert "n2, n3: their ledgers were set back" in told
    assert "`polity voters add n2 n3`" in told


def test_without_verbose_only_what_is_amiss_is_said_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(verbose=False, started=0.0)
    progress(Sent(stand(NOW), False, 0.0))
    progress(Waiting("stand", 1, 3, ("n2",), 5.0))
    progress.note("nothing new")
    progress.end(0)
    assert capsys.readouterr().err == ""
    progress.end(1)
    assert "could not be read" in capsys.readouterr().err
