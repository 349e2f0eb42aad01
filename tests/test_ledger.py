"""A voter's memory: one contract for the ledger on disk and its twin, and what only a disk can get wrong."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import random
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from polity_cli import booth
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.strangers import Sighting
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from polity_cli.core.voter import Self
from polity_cli.core.witness import SET_BACK, reminder
from polity_cli.edges import ledger as ledger_room
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, Transaction
from polity_cli.edges.ledger_copy import copy_ledger
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.errors import LedgerError
from tests import strategies as some
from tests.ledgers import NODE, AnyLedger, Child, ballot, footprint, open_ledger, promise, refused

POLITY = b"polity-1"
ATTEMPT = b"attempt1"
BIG_RECORD = wire.encode_record(
    Electorate(
        POLITY,
        1,
        (Roll(tuple(Enrolled(i.to_bytes(8, "big"), f"{i:0128d}") for i in range(12)), SimpleMajority),),
    )
)
PAGES = wire.pages(BIG_RECORD)
DIGEST = wire.digest(BIG_RECORD)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "polity@node-1.ledger")


@pytest.fixture(params=["on disk", "in memory"])
def ledger(request: pytest.FixtureRequest, path: str) -> Iterator[AnyLedger]:
    made: AnyLedger = open_ledger(path) if request.param == "on disk" else MemoryLedger(b"voter--1")
    yield made
    made.close()


# The contract of both


def test_a_new_ledger_knows_its_voter_and_nothing_else(ledger: AnyLedger) -> None:
    me = ledger.me()
    assert len(me.voter) == 8
    assert (me.polity, me.epoch, me.digest) == (NO_POLITY, 0, b"")
    assert ledger.view("any") == (me, Register())
    assert ledger.register("any") == Register(ZERO, ZERO, VACANT, ZERO, VACANT)
    assert ledger.roles() == []
    assert ledger.record(DIGEST) is None
    assert ledger.check() == []


@given(st.lists(st.tuples(some.roles_or_none, some.registers()), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_whatever_a_voter_may_remember_comes_back_as_it_was(saved: list[tuple[str, Register]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for ledger in (open_ledger(f"{folder}/a.ledger"), MemoryLedger(b"voter--1")):
            for role, register in saved:
                with ledger.transaction(role) as turn:
                    turn.save(register)
                    assert turn.register == register
            for role, register in dict(saved).items():
                found = ledger.register(role)
                assert found == register
                assert list(map(type, found)) == [Ballot, Ballot, Tenure, Ballot, Tenure]
            ledger.close()


def test_a_turn_begins_with_what_was_saved_before(ledger: AnyLedger) -> None:
    promise(ledger, "leader", 3)
    with ledger.transaction("leader") as turn:
        assert turn.register.promised == ballot(3)
        assert turn.me == ledger.me()
    with ledger.transaction("other") as turn:
        assert turn.register == Register()


def test_the_last_of_several_saves_in_a_turn_counts(ledger: AnyLedger) -> None:
    with ledger.transaction("leader") as turn:
        for number in (1, 5, 3):
            turn.save(turn.register._replace(promised=ballot(number)))
    assert ledger.register("leader").promised == ballot(3)


class Oops(Exception):
    pass


def test_a_block_that_raises_leaves_everything_as_it_was(ledger: AnyLedger) -> None:
    promise(ledger, ELECTORATE, 1)
    before = ledger.view(ELECTORATE)
    with contextlib.suppress(Oops), ledger.transaction(ELECTORATE) as turn:
        turn.save(turn.register._replace(promised=ballot(9)))
        turn.save_page(DIGEST, 0, len(PAGES), PAGES[0])
        turn.enter(turn.me._replace(polity=POLITY, epoch=1, digest=DIGEST))
        raise Oops
    assert ledger.view(ELECTORATE) == before
    with ledger.transaction(ELECTORATE) as turn:
        for page, data in enumerate(PAGES[1:], 1):
            assert not turn.save_page(DIGEST, page, len(PAGES), data)
    assert ledger.record(DIGEST) is None


def test_a_turn_within_a_turn_is_refused_and_the_first_goes_on(ledger: AnyLedger) -> None:
    with ledger.transaction("leader") as turn:
        with pytest.raises(LedgerError, match="within a transaction"), ledger.transaction("leader"):
            pytest.fail("two turns at once")
        turn.save(turn.register._replace(promised=ballot(1)))
    assert ledger.register("leader").promised == ballot(1)


def test_a_role_is_known_by_any_trace_and_not_by_a_look(ledger: AnyLedger) -> None:
    promise(ledger, "bare promise", 1)
    ledger.register("looked at")
    with ledger.transaction("turned to") as turn:
        turn.save(turn.register)
    promise(ledger, ELECTORATE, 1)
    assert ledger.roles() == ["bare promise"]


@given(st.sets(some.roles, max_size=12), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_roles_come_in_byte_order_page_after_page(roles: set[str], limit: int) -> None:
    expected = sorted(roles, key=str.encode)
    with tempfile.TemporaryDirectory() as folder:
        for ledger in (open_ledger(f"{folder}/a.ledger"), MemoryLedger(b"voter--1")):
            for role in roles:
                promise(ledger, role, 1)
            assert ledger.roles(limit=-1) == ledger.roles() == expected
            found: list[str] = []
            while page := ledger.roles(found[-1] if found else "", limit):
                assert len(page) <= limit
                found += page
            assert found == expected
            ledger.close()


def test_pages_make_a_record_in_any_order_and_doubled(ledger: AnyLedger) -> None:
    order = [*range(len(PAGES)), 0, 1]
    random.Random(7).shuffle(order)
    missing = set(range(len(PAGES)))
    for page in order:
        with ledger.transaction(ELECTORATE) as turn:
            missing.discard(page)
            assert turn.save_page(DIGEST, page, len(PAGES), PAGES[page]) == (not missing)
            assert (DIGEST in turn.held) == (not missing)
    assert ledger.record(DIGEST) == BIG_RECORD
    with ledger.transaction(ELECTORATE) as turn:
        assert turn.held == {DIGEST}
    with ledger.transaction("leader") as turn:
        assert turn.held == frozenset()


def test_pages_that_belie_their_digest_are_dropped_and_right_ones_taken_again(ledger: AnyLedger) -> None:
    with ledger.transaction(ELECTORATE) as turn:
        for page in range(len(PAGES)):
            data = b"lies" if page == 1 else PAGES[page]
            assert not turn.save_page(DIGEST, page, len(PAGES), data)
        assert not turn.held
    assert ledger.record(DIGEST) is None
    with ledger.transaction(ELECTORATE) as turn:
        assert not turn.held
        kept = [turn.save_page(DIGEST, page, len(PAGES), data) for page, data in enumerate(PAGES)]
    assert kept == [False] * (len(PAGES) - 1) + [True]
    assert ledger.record(DIGEST) == BIG_RECORD


@pytest.mark.parametrize("size", [400, 700])
def test_pages_of_another_count_replace_those_of_the_first(ledger: AnyLedger, size: int) -> None:
    """A program with pages of another size speaks of the same record; the two must not be mixed."""
    other = [BIG_RECORD[at : at + size] for at in range(0, len(BIG_RECORD), size)]
    assert len(other) != len(PAGES)
    with ledger.transaction(ELECTORATE) as turn:
        for page, data in enumerate(PAGES[:-1]):
            assert not turn.save_page(DIGEST, page, len(PAGES), data)
        for page, data in enumerate(other):
            assert turn.save_page(DIGEST, page, len(other), data) == (page == len(other) - 1)
    assert ledger.record(DIGEST) == BIG_RECORD


def test_a_record_can_be_read_within_the_turn_that_completes_it(ledger: AnyLedger) -> None:
    with ledger.transaction(ELECTORATE) as turn:
        for page, data in enumerate(PAGES):
            turn.save_page(DIGEST, page, len(PAGES), data)
        assert ledger.record(DIGEST) == BIG_RECORD


def test_what_was_entered_is_kept(ledger: AnyLedger) -> None:
    voter = ledger.me().voter
    with ledger.transaction(ELECTORATE) as turn:
        turn.enter(turn.me._replace(polity=POLITY, epoch=7, digest=DIGEST))
        assert turn.me.epoch == 7
    assert ledger.me() == Self(voter, POLITY, 7, DIGEST, serial=turn.me.serial)
    assert type(ledger.me()) is Self


class Twins(RuleBasedStateMachine):
    """The same turns on both; whatever can be asked has the same answer."""

    roles = st.sampled_from((ELECTORATE, "a", "é"))
    digests = st.sampled_from((DIGEST, b"0" * 16))

    @initialize()
    def make(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.disk = open_ledger(f"{self.folder.name}/a.ledger")
        self.twin = MemoryLedger(self.disk.me().voter)
        # The steps of the one on the disk are random, those of its twin are not; they come at the same time.
        self.serials = {0: 0}

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.close()
            self.folder.cleanup()

    @rule(
        role=roles,
        saved=st.lists(some.registers(), max_size=2),
        pages=st.lists(
            st.tuples(digests, st.integers(0, 2), st.integers(1, 3), st.sampled_from((b"x", b"y"))),
            max_size=3,
        ),
        true_pages=st.lists(st.integers(0, len(PAGES) - 1), max_size=len(PAGES)),
        entered=st.none() | st.integers(0, 9),
        fails=st.booleans(),
    )
    def turn(
        self,
        role: str,
        saved: list[Register],
        pages: list[tuple[bytes, int, int, bytes]],
        true_pages: list[int],
        entered: int | None,
        fails: bool,
    ) -> None:
        seen: list[object] = []
        for ledger in (self.disk, self.twin):
            said: list[object] = []
            with contextlib.suppress(Oops), ledger.transaction(role) as turn:
                for register in saved:
                    turn.save(register)
                said += [turn.save_page(d, at, of, data) for d, at, of, data in pages if at < of]
                said += [turn.save_page(DIGEST, at, len(PAGES), PAGES[at]) for at in true_pages]
                if entered is not None:
                    turn.enter(turn.me._replace(epoch=entered))
                said += [turn.me._replace(serial=0), turn.register, turn.held, ledger.record(DIGEST)]
                if fails:
                    raise Oops
            seen.append(said)
        assert seen[0] == seen[1]

    @rule()
    def reopen(self) -> None:
        self.disk.close()
        self.disk = open_ledger(self.disk.path)

    @invariant()
    def are_alike(self) -> None:
        if not hasattr(self, "disk"):
            return
        for role in (ELECTORATE, "a", "é", "never"):
            (disk, seen), (twin, twins) = self.disk.view(role), self.twin.view(role)
            assert (disk._replace(serial=twin.serial), seen) == (twin, twins)
            assert self.serials.setdefault(twin.serial, disk.serial) == disk.serial
        assert sorted(self.serials.values()) == list(self.serials.values())
        for digest in (DIGEST, b"0" * 16):
            assert self.disk.record(digest) == self.twin.record(digest)
        assert self.disk.roles() == self.twin.roles()


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


# On the disk before the answer


class Halting(Transaction):
    """A turn that tells a pipe how far it is, and waits at one point for good."""

    def __init__(self, ledger: Ledger, role: str, pipe: Connection, stop_at: str) -> None:
        super().__init__(ledger, role)
        self._pipe = pipe
        self._stop_at = stop_at

    def reach(self, point: str) -> None:
        self._pipe.send(point)
        if point == self._stop_at:
            self._pipe.recv()

    def __enter__(self) -> Transaction:
        turn = super().__enter__()
        self.reach("received")
        return turn

    def save(self, register: Register) -> None:
        super().save(register)
        self.reach("saved")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[arg-type]
        self.reach("committed")


class HaltingLedger(Ledger):
    pipe: Connection
    stop_at: str

    def transaction(self, role: str) -> Transaction:
        return Halting(self, role, self.pipe, self.stop_at)


def voter_that_halts(path: str, data: bytes, stop_at: str, pipe: Connection) -> None:
    ledger = HaltingLedger.open(path, NODE)
    assert isinstance(ledger, HaltingLedger)
    ledger.pipe, ledger.stop_at = pipe, stop_at
    pipe.send(booth.answer(ledger, data))
    os._exit(0)


def found_polity(path: str) -> None:
    """A ledger that has entered an electorate and holds role `leader` vacant at a classic ballot."""
    ledger = open_ledger(path)
    with ledger.transaction(ELECTORATE) as turn:
        turn.enter(turn.me._replace(polity=POLITY, epoch=1, digest=DIGEST))
    with ledger.transaction("leader") as turn:
        turn.save(Register(ballot(1), ballot(1), Tenure(2, None, b"claim--1")))
    ledger.close()


VACANCY = Tenure(2, None, b"claim--1")
FILLED = VACANCY.filled_by("node-2", b"claim--2")
CHANGES: dict[str, m.Query] = {
    "prepare": m.Prepare(ATTEMPT, POLITY, 1, "leader", ballot(5)),
    "accept": m.Accept(ATTEMPT, POLITY, 1, "leader", ballot(5), FILLED),
    "stand": m.Stand(ATTEMPT, POLITY, 1, "leader", ballot(1), VACANCY, FILLED, ballot(5)),
}
AFTER = {
    "prepare": Register(ballot(5), ballot(1), VACANCY),
    "accept": Register(ballot(5), ballot(5), FILLED),
    "stand": Register(ballot(5), ballot(1).fast, FILLED),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stop_at", ["received", "saved", "committed"])
def test_a_voter_killed_at_any_point_remembers_exactly_what_it_committed(
    path: str, change: str, stop_at: str
) -> None:
    found_polity(path)
    before = Register(ballot(1), ballot(1), VACANCY)
    data = wire.encode(CHANGES[change])
    with Child(lambda pipe: voter_that_halts(path, data, stop_at, pipe)) as child:
        points: list[object] = []
        while not points or points[-1] != stop_at:
            points.append(child.hear())
        child.kill()
        assert child.hear_the_rest() == []  # it has answered nobody
    assert points == ["received", "saved", "committed"][: len(points)]
    ledger = open_ledger(path)
    assert ledger.register("leader") == (AFTER[change] if stop_at == "committed" else before)
    assert ledger.check() == []
    # Asked again, it answers as if nothing had happened.
    reply = wire.decode_reply(booth.answer(ledger, data) or b"")
    assert isinstance(reply, m.State)
    assert (reply.promised, reply.accepted, reply.tenure) == AFTER[change][:3]
    ledger.close()


def test_a_voter_that_ends_without_closing_has_lost_nothing(path: str) -> None:
    found_polity(path)
    data = wire.encode(CHANGES["stand"])
    with Child(lambda pipe: voter_that_halts(path, data, "never", pipe)) as child:
        said = child.hear_the_rest()
        assert child.join() == 0
    assert said[:-1] == ["received", "saved", "committed"]
    reply = wire.decode_reply(said[-1])
    ledger = open_ledger(path)
    assert ledger.register("leader") == AFTER["stand"] == Register(*reply[4:9])
    ledger.close()


def test_a_voter_killed_at_random_has_kept_every_promise_it_gave(path: str) -> None:
    open_ledger(path).close()
    rng = random.Random(11)
    given_last = 0

    def promise_on_and_on(pipe: Connection) -> None:
        ledger = open_ledger(path)
        number = ledger.register("leader").promised.round
        while True:
            number += 1
            promise(ledger, "leader", number)
            pipe.send(number)

    for _ in range(12):
        with Child(promise_on_and_on) as child:
            for _ in range(rng.randint(1, 60)):
                given_last = child.hear()
            child.kill()
            given_last = max([given_last, *child.hear_the_rest()])
        ledger = open_ledger(path)
        # One more may have been committed that nobody heard of.
        assert ledger.register("leader").promised.round in (given_last, given_last + 1)
        assert ledger.check() == []
        ledger.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that this process syncs by itself, not through SQLite."""
    names: list[str] = []

    def note(sync: Callable[[int], None], fd: int) -> None:
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        sync(fd)

    fsync, fdatasync = os.fsync, os.fdatasync
    monkeypatch.setattr(os, "fsync", functools.partial(note, fsync))
    monkeypatch.setattr(os, "fdatasync", functools.partial(note, fdatasync))
    return names


def end_without_closing(path: str) -> None:
    def work(pipe: Connection) -> None:
        promise(open_ledger(path), "leader", 1)
        pipe.send("done")
        os._exit(0)

    with Child(work) as child:
        child.hear()
        child.join()


LOOKS: dict[str, Callable[[Ledger], object]] = {
    "view": lambda ledger: ledger.view("leader"),
    "me": lambda ledger: ledger.me(),
    "roles": lambda ledger: ledger.roles(),
    "record": lambda ledger: ledger.record(DIGEST),
    "a turn that changes nothing": lambda ledger: promise(ledger, "leader", 1),
}


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_is_told_before_the_log_it_was_found_in_is_synced(
    path: str, look: str, synced: list[str]
) -> None:
    """Whoever left it there may have been killed between the writing and the syncing of its commit."""
    end_without_closing(path)
    ledger = open_ledger(path)
    assert synced == []
    LOOKS[look](ledger)
    assert synced == [os.path.basename(path) + "-wal", "state"]
    LOOKS[look](ledger)
    assert len(synced) == 2  # once is enough
    ledger.close()


def test_a_commit_has_synced_the_log_and_nobody_does_it_again(path: str, synced: list[str]) -> None:
    end_without_closing(path)
    ledger = open_ledger(path)
    promise(ledger, "leader", 2)
    ledger.view("leader")
    assert synced == []
    ledger.close()


def test_sqlite_syncs_each_commit_and_moves_no_log_by_itself(path: str) -> None:
    for _ in range(2):  # made, and opened
        ledger = open_ledger(path)
        asked = [
            ledger._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint")
        ]
        assert asked == ["wal", 2, 0]
        ledger.close()


class FailingConnection:
    """A connection whose COMMIT fails."""

    def __init__(self, real: object) -> None:
        self._real = real

    def execute(self, sql: str, *values: object) -> object:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return self._real.execute(sql, *values)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def test_a_commit_that_fails_raises_and_leaves_the_ledger_usable(path: str) -> None:
    ledger = open_ledger(path)
    promise(ledger, "leader", 1)
    real = ledger._db
    ledger._db = FailingConnection(real)  # type: ignore[assignment]
    with refused("disk I/O error"):
        promise(ledger, "leader", 2)
    ledger._db = real
    assert ledger.register("leader").promised == ballot(1)
    assert promise(ledger, "leader", 3) == ledger.register("leader")
    ledger.close()


# A short log


def log_size(path: str) -> int:
    return os.stat(f"{path}-wal").st_size


def test_the_log_stays_short_however_many_commits(path: str) -> None:
    ledger = open_ledger(path)
    longest = 0
    for number in range(1, 301):
        promise(ledger, f"role-{number % 40}", number)
        longest = max(longest, log_size(path))
    assert 100_000 < longest < ledger_room._LOG_BYTES + 10 * 4096
    assert ledger.register("role-20").promised == ballot(300)
    ledger.close()


def test_a_reader_in_the_way_of_a_long_log_stops_nobody(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_room, "_SHORTEN_PATIENCE_S", 0.001)
    ledger = open_ledger(path)
    promise(ledger, "leader", 1)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM register").fetchone() == (1,)
    for number in range(2, 150):
        promise(ledger, "leader", number)
    assert log_size(path) > ledger_room._LOG_BYTES
    assert ledger._db.execute("PRAGMA busy_timeout").fetchone() == (5000,)
    reader.close()
    promise(ledger, "leader", 150)
    assert log_size(path) == 0
    assert ledger.register("leader").promised == ballot(150)
    ledger.close()


# Changes counted


def test_each_turn_that_changes_something_counts_and_no_other_does(ledger: AnyLedger) -> None:
    assert ledger.me().serial == 0
    promise(ledger, "leader", 3)
    first = ledger.me().serial
    assert first > 0
    promise(ledger, "leader", 3)
    assert ledger.me().serial == first, "the same again is no change"
    with ledger.transaction(ELECTORATE) as turn:
        for page, data in enumerate(PAGES):
            turn.save_page(DIGEST, page, len(PAGES), data)
        turn.enter(turn.me._replace(polity=POLITY, epoch=1, digest=DIGEST))
        turn.save(Register(ballot(1)))
    second = ledger.me().serial
    assert second > first
    assert turn.me.serial == second
    with ledger.transaction(ELECTORATE) as turn:
        turn.save_page(DIGEST, 0, len(PAGES), PAGES[0])
    assert ledger.me().serial == second
    with contextlib.suppress(ZeroDivisionError), ledger.transaction("leader") as turn:
        turn.save(Register(ballot(9)))
        raise ZeroDivisionError
    assert ledger.me().serial == second, "what was taken back never was"


def test_what_was_seen_of_others_is_kept_where_it_is_higher_and_is_no_change(ledger: AnyLedger) -> None:
    assert ledger.witness() == {}
    ledger.remember({("n1", b"voter--1"): 5, ("n2", b"voter--2"): SET_BACK})
    ledger.remember({("n1", b"voter--1"): 4, ("n2", b"voter--2"): 9, ("n3", b"voter--1"): 1})
    kept = {("n1", b"voter--1"): 5, ("n2", b"voter--2"): SET_BACK, ("n3", b"voter--1"): 1}
    assert ledger.witness() == kept
    assert ledger.me().serial == 0
    promise(ledger, "leader", 3)
    assert ledger.witness() == kept


def test_what_was_seen_of_strangers_is_kept_replaced_and_forgotten(ledger: AnyLedger) -> None:
    assert ledger.strangers() == {}
    ledger.remember({}, {"m1": Sighting(b"polity-2", 5), "m2": Sighting(NO_POLITY, 6)})
    ledger.remember({("n1", b"voter--1"): 5})
    ledger.remember({}, {"m1": None, "m2": Sighting(b"polity-2", 7), "m3": None})
    assert ledger.strangers() == {"m2": Sighting(b"polity-2", 7)}
    assert (ledger.witness(), ledger.me().serial) == ({("n1", b"voter--1"): 5}, 0)


# Set back, and told so


def reminders(ledger: Ledger, *serials: int, node: str = NODE) -> bytes:
    return b"".join(reminder((node, ledger.me().voter), serial) for serial in serials)


def copy_of(ledger: Ledger, path: Path) -> Ledger:
    """The ledger as it is now, on the same node: what a snapshot puts back."""
    copy_ledger(ledger.path, str(path))
    return open_ledger(path)


def test_a_voter_reminded_of_what_it_has_shown_is_not_set_back(path: str) -> None:
    ledger = open_ledger(path)
    shown = [0]
    for number in range(1, 50):
        promise(ledger, "leader", number)
        shown.append(ledger.me().serial)
        assert not ledger.is_set_back(reminders(ledger, *shown[-30:]))
    assert shown == sorted(set(shown))
    assert not ledger.is_set_back(b"")


def test_a_ledger_that_was_set_back_knows_it_when_reminded_however_much_it_has_changed_since(
    path: str, tmp_path: Path
) -> None:
    ledger = open_ledger(path)
    promise(ledger, "leader", 1)
    old = copy_of(ledger, tmp_path / "old")
    assert not old.is_set_back(reminders(old, ledger.me().serial))
    promise(ledger, "leader", 2)
    lost = ledger.me().serial
    while old.me().serial <= lost:
        promise(old, "leader", old.register("leader").promised.round + 1)
    assert old.is_set_back(reminders(old, lost))
    assert old.is_set_back(b""), "that is for good"
    old.close()
    assert open_ledger(tmp_path / "old").is_set_back(b"")
    assert not ledger.is_set_back(reminders(ledger, lost)), "the newer one knows nothing of it"


def test_a_ledger_reminded_of_more_than_it_ever_had_was_set_back(path: str) -> None:
    ledger = open_ledger(path)
    promise(ledger, "leader", 1)
    assert ledger.is_set_back(reminders(ledger, ledger.me().serial, ledger.me().serial + 1))


def test_what_others_are_reminded_of_is_nothing_to_a_voter(path: str) -> None:
    ledger = open_ledger(path)
    promise(ledger, "leader", 1)
    assert not ledger.is_set_back(reminders(ledger, 2**60, node="node-2"))
    assert not ledger.is_set_back(reminder((NODE, b"voter--9"), 2**60))


def test_of_a_time_of_which_no_serials_are_kept_nothing_is_said(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polity_cli.edges.ledger._PAST", 5)
    monkeypatch.setattr("polity_cli.edges.ledger._STEP_BYTES", 0)
    monkeypatch.setattr("polity_cli.edges.ledger.os.urandom", lambda count: (63).to_bytes(1))
    ledger = open_ledger(path)
    for number in range(1, 9):
        promise(ledger, "leader", number)
    with contextlib.closing(sqlite3.connect(path)) as db:
        kept = [serial for (serial,) in db.execute("SELECT serial FROM past ORDER BY serial")]
    assert kept == [step * 64 for step in range(4, 9)]
    assert not ledger.is_set_back(reminders(ledger, 64 * 3, 64 * 3 + 1, 64 * 4, 64 * 8))
    assert ledger.is_set_back(reminders(ledger, 64 * 4 + 1))


def test_a_voter_whose_ledger_was_set_back_takes_part_in_nothing(path: str) -> None:
    ledger = open_ledger(path)
    with ledger.transaction(ELECTORATE) as turn:
        turn.enter(turn.me._replace(polity=POLITY, epoch=1, digest=DIGEST))
    question = m.Prepare(ATTEMPT, POLITY, 1, "leader", ballot(1))
    above = reminders(ledger, ledger.me().serial + 1)
    before = ledger.register("leader")
    me = ledger.me()
    for data in (
        wire.encode(question, [above]),
        wire.encode(question),
        wire.encode(m.Fetch(ATTEMPT, b"", 0)),
    ):
        reply = wire.decode_reply(booth.answer(ledger, data) or b"")
        assert reply == m.Refusal(ATTEMPT, *me[:4], m.SET_BACK, me.serial)
    news = m.Announce(POLITY, 1, "leader", ballot(1), Tenure(1, NODE, b"claim--1"))
    assert booth.answer(ledger, wire.encode(news)) is None
    assert ledger.register("leader") == before


# Nothing changed, nothing written


def quiet_queries() -> dict[str, m.Message]:
    """Messages that change nothing in a ledger that has seen `CHANGES["stand"]` and the news of its end."""
    newer = Tenure(5, "node-3", b"claim--5", b"claim--4")
    return {
        "read": m.Read(ATTEMPT, POLITY, 1, "leader"),
        "read of an unknown role": m.Read(ATTEMPT, POLITY, 1, "unknown"),
        "an older prepare": m.Prepare(ATTEMPT, POLITY, 1, "leader", ballot(2)),
        "the same prepare": m.Prepare(ATTEMPT, POLITY, 1, "leader", ballot(9)),
        "the same accept": m.Accept(ATTEMPT, POLITY, 1, "leader", ballot(9), newer),
        "an older accept": m.Accept(ATTEMPT, POLITY, 1, "leader", ballot(3), FILLED),
        "a stand answered by no": m.Stand(
            ATTEMPT, POLITY, 1, "leader", ballot(1), VACANCY, FILLED, ballot(30)
        ),
        "old news": m.Announce(POLITY, 1, "leader", ballot(8), FILLED),
        "the same news": m.Announce(POLITY, 1, "leader", ballot(9), newer),
        "another polity": m.Prepare(ATTEMPT, b"polity-2", 1, "leader", ballot(99)),
        "an older epoch": m.Prepare(ATTEMPT, POLITY, 0, "leader", ballot(99)),
        "an absurd round": m.Prepare(ATTEMPT, POLITY, 1, "leader", Ballot(2**61, b"proposer")),
        "list of roles": m.ListRoles(ATTEMPT, POLITY, 1, ""),
        "fetch": m.Fetch(ATTEMPT, DIGEST, 0),
        "a page it has": m.Offer(ATTEMPT, b"d" * 16, 0, 2, b"half", False),
        "a page of a record it holds": m.Offer(ATTEMPT, DIGEST, 0, len(PAGES), PAGES[0], False),
        "a chosen record it has entered": m.Offer(ATTEMPT, DIGEST, 0, len(PAGES), PAGES[0], True),
    }


@pytest.mark.parametrize("what", quiet_queries())
def test_a_message_that_changes_nothing_writes_nothing(path: str, what: str) -> None:
    keeper = open_ledger(path)  # keeps the log from being moved when the next one closes
    with keeper.transaction(ELECTORATE) as turn:
        for page, data in enumerate(PAGES):
            turn.save_page(DIGEST, page, len(PAGES), data)
        turn.save_page(b"d" * 16, 0, 2, b"half")
        turn.enter(turn.me._replace(polity=POLITY, epoch=1, digest=DIGEST))
    newer = Tenure(5, "node-3", b"claim--5", b"claim--4")
    with keeper.transaction("leader") as turn:
        turn.save(Register(ballot(9), ballot(9), newer, ballot(9), newer))
    before = footprint(path)
    ledger = open_ledger(path)
    booth.answer(ledger, wire.encode(quiet_queries()[what]))
    ledger.close()
    assert footprint(path) == before
    assert len(before) == 2
    # And the same ledger does change when it has to.
    booth.answer(keeper, wire.encode(m.Prepare(ATTEMPT, POLITY, 1, "leader", ballot(31))))
    assert footprint(path) != before
    keeper.close()


# Several processes at once


def test_no_turn_of_four_processes_is_lost(path: str) -> None:
    open_ledger(path).close()

    def count_up(pipe: Connection) -> None:
        for number in range(100):
            # Like hooks, that open the ledger for one query and never close it; and like an agent.
            if number % 25 == 0:
                ledger = open_ledger(path, busy_timeout_s=60)
            with ledger.transaction("leader") as turn:
                turn.save(turn.register._replace(promised=ballot(turn.register.promised.round + 1)))
        pipe.send("done")
        os._exit(0)

    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(count_up)) for _ in range(4)]
        assert [child.hear_the_rest() for child in children] == [["done"]] * 4
    ledger = open_ledger(path)
    assert ledger.register("leader").promised.round == 400
    assert ledger.check() == []
    ledger.close()


def test_promises_given_by_four_processes_never_go_back_and_are_all_true(path: str) -> None:
    """Each answer is placed between two readings of one clock; answers that did not overlap are in order."""
    found_polity(path)
    highest = multiprocessing.get_context("fork").Value("L", 1)

    def prepare_on(seed: int, pipe: Connection) -> None:
        rng = random.Random(seed)
        ledger = open_ledger(path, busy_timeout_s=60)
        for _ in range(200):
            with highest.get_lock():
                highest.value += rng.randint(0, 2)
                asked = Ballot(highest.value, seed.to_bytes(8, "big"))
            began = time.monotonic_ns()
            data = booth.answer(ledger, wire.encode(m.Prepare(ATTEMPT, POLITY, 1, "leader", asked)))
            pipe.send((began, time.monotonic_ns(), asked, data))
            if rng.random() < 0.05:
                ledger = open_ledger(path, busy_timeout_s=60)
        os._exit(0)

    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(Child(lambda pipe, seed=seed: prepare_on(seed, pipe)))  # type: ignore[misc]
            for seed in range(1, 5)
        ]
        heard = [child.hear_the_rest() for child in children]
    assert [len(answers) for answers in heard] == [200] * 4
    answers: list[tuple[int, int, Ballot, Ballot]] = []
    for began, ended, asked, data in itertools.chain(*heard):
        reply = wire.decode_reply(data)
        assert isinstance(reply, m.State)
        assert reply.promised >= asked
        answers.append((began, ended, asked, reply.promised))
    granted = [(began, ended, asked) for began, ended, asked, promised in answers if promised == asked]
    assert len({asked for _, _, asked in granted}) > 100
    for began, _, _, promised in answers:
        assert all(grant <= promised for _, ended, grant in granted if ended < began)
    ledger = open_ledger(path)
    assert ledger.register("leader").promised == max(asked for _, _, asked in granted)
    ledger.close()


def test_what_a_reader_sees_is_one_instant(path: str) -> None:
    """An answer with the epoch before a change and the state after it would count where it must not."""
    ledger = open_ledger(path)

    def change_both(pipe: Connection) -> None:
        writer = open_ledger(path)
        for number in itertools.count(1):
            with writer.transaction("leader") as turn:
                turn.enter(turn.me._replace(epoch=number))
                turn.save(turn.register._replace(promised=ballot(number)))
            if pipe.poll():
                break
        pipe.send(number)

    seen: set[int] = set()
    with Child(change_both) as child:
        while len(seen) < 100:
            me, register = ledger.view("leader")
            assert me.epoch == register.promised.round
            seen.add(me.epoch)
        child.tell()
        assert child.hear() >= max(seen)
    ledger.close()


def test_several_processes_that_make_one_ledger_at_once_agree_on_the_voter(tmp_path: Path) -> None:
    for attempt in range(15):
        path = str(tmp_path / f"state-{attempt}" / "new.ledger")
        barrier = multiprocessing.get_context("fork").Barrier(6)

        def make(pipe: Connection, path: str = path, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                ledger = open_ledger(path, busy_timeout_s=60)
                pipe.send(ledger.me().voter)
                promise(ledger, f"role-{os.getpid()}", 1)
            except LedgerError as error:
                pipe.send(str(error))
            os._exit(0)

        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(Child(make)) for _ in range(6)]
            voters = {child.hear() for child in children}
            for child in children:
                child.join()
        ledger = open_ledger(path)
        assert voters == {ledger.me().voter}
        assert len(ledger.roles()) == 6
        ledger.close()


def test_a_ledger_locked_for_too_long_is_an_error_and_works_again_afterwards(path: str) -> None:
    open_ledger(path).close()

    def hold(pipe: Connection) -> None:
        with open_ledger(path).transaction("leader"):
            pipe.send("locked")
            pipe.recv()
        pipe.send("free")

    ledger = open_ledger(path, busy_timeout_s=0.05)
    with Child(hold) as child:
        child.hear()
        assert ledger.view("leader")[1] == Register()  # readers need no lock
        with refused("locked by another process"):
            promise(ledger, "leader", 1)
        child.tell()
        assert child.hear() == "free"
        assert promise(ledger, "leader", 1).promised == ballot(1)
    ledger.close()


def test_a_ledger_waits_for_a_lock_as_long_as_it_is_told(path: str) -> None:
    def hold(pipe: Connection) -> None:
        with open_ledger(path).transaction("leader") as turn:
            turn.save(turn.register._replace(promised=ballot(4)))
            pipe.send("locked")
            pipe.recv()

    ledger = open_ledger(path, busy_timeout_s=60)
    with Child(hold) as child:
        child.hear()
        timer = threading.Timer(0.2, child.tell)
        timer.start()
        with ledger.transaction("leader") as turn:
            assert turn.register.promised == ballot(4)
        timer.join()
    ledger.close()


def test_a_connection_of_another_thread_is_refused_but_not_called_damaged(path: str) -> None:
    ledger = open_ledger(path)
    errors: list[BaseException] = []

    def use() -> None:
        try:
            ledger.me()
        except LedgerError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "thread" in str(errors[0])
    assert "damaged" not in str(errors[0])
    ledger.close()
