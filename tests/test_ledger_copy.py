"""A ledger begun anew: all of the old one is kept, and whoever has it open is another voter at once."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from polity_cli import booth
from polity_cli.core import messages as m
from polity_cli.core.ballot import Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.quorum import QuorumRule
from polity_cli.edges import ledger_copy, wire
from polity_cli.edges.ledger import Ledger
from polity_cli.edges.ledger_copy import begin_anew
from polity_cli.errors import LedgerError
from tests.ledgers import Child, open_ledger, promise, refused

RECORD = wire.encode_record(
    Electorate(b"polity-1", 1, (Roll((Enrolled(b"voter--1", "n1"),), QuorumRule(500_000, 1)),))
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "polity@node-1.ledger")


def founded(path: str) -> Ledger:
    ledger = open_ledger(path)
    booth.handle(ledger, m.Offer(b"founding", wire.digest(RECORD), 0, 1, RECORD, True))
    promise(ledger, "leader", 7)
    ledger.remember({("n1", b"voter--1"): 5})
    return ledger


def test_the_old_ledger_is_kept_whole_and_the_new_one_is_another_voters(path: str) -> None:
    ledger = founded(path)
    before = (ledger.me(), ledger.register("leader"), ledger.roles(), ledger.record(ledger.me().digest))
    begin_anew(ledger, f"{path}.kept")
    # This very connection was open all the time.
    me = ledger.me()
    assert (me.polity, me.epoch, me.digest) == (NO_POLITY, 0, b"")
    assert me.voter != before[0].voter
    assert (ledger.roles(), ledger.register("leader")) == ([], Register())
    assert ledger.record(before[0].digest) is None
    assert ledger.witness() == {("n1", b"voter--1"): 5}
    ledger.close()
    kept = open_ledger(f"{path}.kept")
    assert (kept.me(), kept.register("leader"), kept.roles(), kept.record(kept.me().digest)) == before
    assert kept.check() == []
    kept.close()


def test_a_voter_that_waited_for_its_turn_votes_as_the_new_one(path: str) -> None:
    """As a hook does that Serf started a moment before."""
    founded(path).close()

    def vote(pipe: Connection) -> None:
        ledger = open_ledger(path)
        old = ledger.me().voter
        pipe.send(old)
        pipe.recv()
        reply = booth.handle(ledger, m.Prepare(b"attempt1", b"polity-1", 1, "leader", Ballot(9, b"attempt1")))
        pipe.send(reply)

    with Child(vote) as child:
        old = child.hear()
        ledger = open_ledger(path)
        begin_anew(ledger, f"{path}.kept")
        child.tell()
        reply = child.hear()
    assert isinstance(reply, m.Refusal)
    assert reply.reason == m.UNFOUNDED
    assert reply.voter != old


def test_what_cannot_be_kept_is_not_begun_anew(path: str) -> None:
    ledger = founded(path)
    before = ledger.me()
    Path(f"{path}.kept").write_text("something of somebody's")
    with pytest.raises(LedgerError):
        begin_anew(ledger, f"{path}.kept")
    assert ledger.me() == before
    assert promise(ledger, "leader", 8).promised.round == 8, "and nothing stays locked"
    ledger.close()


def test_the_copy_is_on_the_disk_before_anything_is_forgotten(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = founded(path)
    before = ledger.me()

    def fails(name: str) -> None:
        assert Path(name).exists()
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(ledger_copy, "sync_folder", fails)
    with refused("the disk is gone"):
        begin_anew(ledger, f"{path}.kept")
    assert ledger.me() == before
    ledger.close()
