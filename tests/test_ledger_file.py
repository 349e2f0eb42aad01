"""The file under a ledger: made once, named well, and everything that can be wrong with it said in words."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.ballot import FAST, Ballot
from polity_cli.core.messages import Register
from polity_cli.core.strangers import Sighting
from polity_cli.core.tenure import ELECTORATE, Tenure
from polity_cli.core.voter import Self
from polity_cli.core.witness import SET_BACK, reminder
from polity_cli.edges import ledger_file, wire
from polity_cli.edges.ledger import SCHEMA_VERSION, Ledger, ledger_path
from polity_cli.errors import LedgerError
from tests import strategies as some
from tests.ledgers import NODE, Child, as_user, ballot, open_ledger, promise, refused

NOBODY = 65_534
DATA = Path(__file__).parent / "data"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "polity@node-1.ledger")


@pytest.fixture
def full_path(path: str) -> str:
    """The path of a closed ledger with so many roles that it has several levels of pages."""
    ledger = open_ledger(path)
    for number in range(1, 121):
        with ledger.transaction(f"role-{number:03d}") as turn:
            turn.save(Register(ballot(number), ballot(number), Tenure(1, "n" * 100, b"claim--1")))
    ledger.remember({("node-2", b"voter--2"): 7})
    ledger.close()
    return path


def everything(path: str) -> list[object]:
    """All that a ledger says about itself and its roles."""
    ledger = open_ledger(path)
    try:
        return [
            (ledger.me(), ledger.witness(), ledger.strangers(), ledger.is_set_back(b"")),
            *((role, ledger.register(role)) for role in ledger.roles()),
        ]
    finally:
        ledger.close()


# Names


def test_several_nodes_and_namespaces_share_a_folder() -> None:
    assert ledger_path("/var/lib/polity", "polity", "web-1.example") == (
        "/var/lib/polity/polity@web-1.example.ledger"
    )


@given(st.lists(st.tuples(some.nodes, some.nodes), min_size=2, max_size=6, unique=True))
def test_every_node_and_namespace_has_a_file_of_its_own_right_in_the_folder(
    names: list[tuple[str, str]],
) -> None:
    paths = [ledger_path("/state", namespace, node) for namespace, node in names]
    assert len(set(paths)) == len(names)
    for path in paths:
        assert os.path.dirname(path) == "/state"
        assert path.isascii()
        assert path.isprintable()
        assert len(os.path.basename(path) + "-journal") <= 255


@pytest.mark.parametrize(
    "node", ["..", ".", "a/b", "/etc/passwd", "a b", "%41", "A@b", "Büro-7", "漢" * 42, "%" * 128, "x" * 128]
)
def test_a_node_of_any_name_keeps_a_ledger(tmp_path: Path, node: str) -> None:
    path = ledger_path(str(tmp_path / "state"), "polity", node)
    ledger = open_ledger(path, node)
    promise(ledger, "leader", 1)
    ledger.close()
    assert os.listdir(tmp_path) == ["state"]
    assert os.listdir(tmp_path / "state") == [os.path.basename(path)]
    ledger = open_ledger(path, node)
    assert ledger.register("leader").promised == ballot(1)
    ledger.close()


def test_names_that_differ_only_beyond_what_a_file_name_holds_are_kept_apart() -> None:
    one, two = (ledger_path("/state", "polity", "漢" * 41 + last) for last in "甲乙")
    assert one != two
    assert one[:150] == two[:150]


@pytest.mark.parametrize("node", ["", "x" * 129, "bad\udcff", "two\nlines", " blank"])
def test_a_node_whose_name_cannot_be_written_down_has_no_ledger(path: str, node: str) -> None:
    with refused("no ledger can be kept for this node"):
        Ledger.open(path, node)
    assert not os.path.exists(path)


# Making and opening


def test_a_ledger_is_not_made_where_nobody_asked_for_it(path: str) -> None:
    assert Ledger.open(path, NODE, create=False) is None
    assert not os.path.exists(os.path.dirname(path))
    open_ledger(path).close()
    ledger = Ledger.open(path, NODE, create=False)
    assert ledger is not None
    ledger.close()


def test_folders_are_made_and_their_names_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    real = ledger_file.sync_folder

    def note(path: str) -> None:
        synced.append(os.path.dirname(path))
        real(path)

    monkeypatch.setattr(ledger_file, "sync_folder", note)
    open_ledger(tmp_path / "a" / "b" / "x.ledger").close()
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]


def test_a_ledger_may_lie_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_ledger("x.ledger").close()
    assert os.listdir() == ["x.ledger"]


def test_a_closed_ledger_is_one_file(path: str) -> None:
    ledger = open_ledger(path)
    promise(ledger, "leader", 1)
    ledger.close()
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_a_wiped_ledger_comes_back_as_another_voter(path: str) -> None:
    ledger = open_ledger(path)
    promise(ledger, "leader", 1)
    voter = ledger.me().voter
    ledger.close()
    os.unlink(path)
    ledger = open_ledger(path)
    assert ledger.me().voter != voter
    assert ledger.roles() == []
    ledger.close()


def end_without_closing(path: str) -> bytes:
    """A ledger whose promises are in the log only; returns its voter."""

    def work(pipe: Connection) -> None:
        ledger = open_ledger(path)
        promise(ledger, "leader", 7)
        pipe.send(ledger.me().voter)
        os._exit(0)

    with Child(work) as child:
        voter: bytes = child.hear()
        child.join()
    assert os.stat(f"{path}-wal").st_size
    return voter


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_log_without_its_ledger_is_not_begun_anew(path: str, how: str) -> None:
    end_without_closing(path)
    log = Path(f"{path}-wal").read_bytes()
    if how == "removed":
        os.unlink(path)
    else:
        os.truncate(path, 0)
    with refused("its log is there"):
        Ledger.open(path, NODE)
    assert Path(f"{path}-wal").read_bytes() == log
    for name in os.listdir(os.path.dirname(path)):
        os.unlink(os.path.join(os.path.dirname(path), name))
    open_ledger(path).close()


def test_another_nodes_ledger_is_refused_and_left_alone(path: str) -> None:
    open_ledger(path).close()
    copy = ledger_path(os.path.dirname(path), "polity", "node-2")
    shutil.copy(path, copy)
    before = Path(copy).read_bytes()
    with refused("belongs to the node 'node-1', not to 'node-2'"):
        Ledger.open(copy, "node-2")
    assert Path(copy).read_bytes() == before


# Schema


def build(path: str, script: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(script)


def test_a_ledger_of_schema_1_is_read_as_it_was_written(path: str) -> None:
    """The dump was taken when schema 1 was new. Never change it: such ledgers are out there."""
    build(path, (DATA / "ledger-schema-1.sql").read_text(encoding="utf-8"))
    ledger = open_ledger(path)
    digest = bytes.fromhex("ba471de4849e7482efc7d54a69cc0640")
    assert ledger.me() == Self(bytes(range(1, 9)), b"polity-1", 1, digest)
    assert ledger.roles() == ["Büro", "leader"]
    assert ledger.register("Büro") == Register(Ballot(1, b"attempt3"))
    assert ledger.register("leader") == Register(
        Ballot(9, b"attempt2"),
        Ballot(7, b"attempt1", FAST),
        Tenure(3, "node-2", b"claim--3", b"claim--2"),
        Ballot(5, b"attempt0"),
        Tenure(1, "node-3", b"claim--1"),
    )
    founding = Ballot(3, b"founder1")
    assert ledger.register(ELECTORATE) == Register(founding, founding, Tenure(1, digest.hex(), b"polity-1"))
    record = wire.decode_record(ledger.record(digest) or b"")
    assert [e.node for e in record.voters] == ["node-1", "node-2", "node-3"]
    assert promise(ledger, "leader", 10) == ledger.register("leader")
    ledger.close()


def test_the_schema_is_that_of_the_dump_of_its_version(path: str, tmp_path: Path) -> None:
    """A changed schema needs another version, a migration, and a dump of its own."""
    assert SCHEMA_VERSION == 3
    old = str(tmp_path / "old.ledger")
    build(old, (DATA / f"ledger-schema-{SCHEMA_VERSION}.sql").read_text(encoding="utf-8"))
    open_ledger(path).close()
    schemas = []
    for name in (old, path):
        with contextlib.closing(sqlite3.connect(name)) as db:
            rows = db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
            schemas.append((rows, db.execute("PRAGMA user_version").fetchone()))
    assert schemas[0] == schemas[1]


def test_a_ledger_of_schema_2_is_read_as_it_was_written(path: str) -> None:
    """The dump was taken when schema 2 was new. Never change it: such ledgers are out there."""
    build(path, (DATA / "ledger-schema-2.sql").read_text(encoding="utf-8"))
    ledger = open_ledger(path)
    digest = bytes.fromhex("ba471de4849e7482efc7d54a69cc0640")
    assert ledger.me() == Self(bytes(range(1, 9)), b"polity-1", 1, digest, serial=7)
    assert ledger.witness() == {("node-2", b"\2" * 8): 41, ("node-3", b"\3" * 8): SET_BACK}
    assert ledger.roles() == ["leader"]
    assert ledger.register("leader") == Register(
        Ballot(9, b"attempt2"),
        Ballot(7, b"attempt1", FAST),
        Tenure(3, "node-2", b"claim--3", b"claim--2"),
        Ballot(5, b"attempt0"),
        Tenure(1, "node-3", b"claim--1"),
    )
    voter = ("node-1", bytes(range(1, 9)))
    assert not ledger.is_set_back(reminder(voter, 6) + reminder(voter, 7)), "older ones were not kept"
    assert ledger.is_set_back(reminder(voter, 8))
    ledger.close()


def test_a_ledger_of_schema_3_is_read_as_it_was_written(path: str) -> None:
    """The dump was taken when schema 3 was new. Never change it: such ledgers are out there."""
    build(path, (DATA / "ledger-schema-3.sql").read_text(encoding="utf-8"))
    ledger = open_ledger(path)
    digest = bytes.fromhex("ba471de4849e7482efc7d54a69cc0640")
    assert ledger.me() == Self(bytes(range(1, 9)), b"polity-1", 1, digest, serial=9_000_000_123)
    assert ledger.roles() == ["leader"]
    slots = ("2026-11-24T03:00Z", "2026-11-23T03:00Z")
    assert ledger.register("leader").tenure == Tenure(3, "node-2", b"claim--3", b"claim--2", *slots)
    before = Tenure(1, "node-3", b"claim--1", b"", "2026-11-22T03:00Z", "7")
    assert ledger.register("leader").confirmed == before
    assert ledger.strangers() == {"node-9": Sighting(b"polity-9", 1_795_530_000)}
    voter = ("node-1", bytes(range(1, 9)))
    assert not ledger.is_set_back(reminder(voter, 9_000_000_123) + reminder(voter, 7))
    assert ledger.is_set_back(reminder(voter, 8))
    ledger.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_every_older_schema_becomes_the_present_one(path: str, tmp_path: Path, version: int) -> None:
    build(path, (DATA / f"ledger-schema-{version}.sql").read_text(encoding="utf-8"))
    open_ledger(path).close()
    fresh = str(tmp_path / "fresh.ledger")
    open_ledger(fresh).close()

    def schema(name: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(name)) as db:
            return [
                *db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name"),
                *db.execute("PRAGMA user_version"),
            ]

    assert schema(path) == schema(fresh)


def test_a_ledger_of_a_newer_schema_is_refused_and_left_alone(path: str) -> None:
    open_ledger(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    before = Path(path).read_bytes()
    with refused(f"is of schema {SCHEMA_VERSION + 1}; this polity knows {SCHEMA_VERSION} at most"):
        Ledger.open(path, NODE)
    assert Path(path).read_bytes() == before


def test_an_empty_file_becomes_a_ledger(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).touch()
    ledger = open_ledger(path)
    assert promise(ledger, "leader", 1).promised == ballot(1)
    ledger.close()
    assert len(everything(path)) == 2


def test_a_making_cut_short_is_done_again_from_the_start(path: str) -> None:
    """Between the switch to the log and the commit of the tables there is a file of schema 0."""
    os.makedirs(os.path.dirname(path))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
    assert os.stat(path).st_size
    assert len(everything(path)) == 1


def hold_a_new_file_open(path: str, pipe: Connection) -> None:
    """Be about to write to an empty file, as one of two that make a ledger at once is."""
    os.makedirs(os.path.dirname(path))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    pipe.send("writing")
    pipe.recv()
    os._exit(0)


def test_whoever_makes_a_ledger_waits_for_others_that_do(path: str) -> None:
    """SQLite's own time-out does not serve the switch to the log: it would fail at once here."""
    with Child(functools.partial(hold_a_new_file_open, path)) as child:
        child.hear()
        with refused("locked by another process"):
            open_ledger(path, busy_timeout_s=0.05)
        timer = threading.Timer(0.2, child.tell)
        timer.start()
        ledger = open_ledger(path, busy_timeout_s=60)
        timer.join()
    assert promise(ledger, "leader", 1).promised == ballot(1)
    ledger.close()


def test_a_ledger_that_somebody_took_off_the_log_is_put_back(path: str) -> None:
    open_ledger(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    ledger = open_ledger(path)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    ledger.close()


# Damage


def overwrite(path: str, at: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def test_an_overwritten_header_is_damage(full_path: str) -> None:
    overwrite(full_path, 0, b"\0" * 100)
    before = Path(full_path).read_bytes()
    with refused("is damaged"):
        Ledger.open(full_path, NODE)
    assert Path(full_path).read_bytes() == before


@pytest.mark.parametrize("junk", [b"\0" * 4096, b"\xff" * 4096, bytes(random.Random(3).randbytes(4096))])
def test_an_overwritten_page_is_damage_wherever_it_is_met(full_path: str, junk: bytes) -> None:
    whole = Path(full_path).read_bytes()
    truth = everything(full_path)
    pages = len(whole) // 4096
    assert pages > 8
    damaged = 0
    for page in range(1, pages):
        Path(full_path).write_bytes(whole)
        overwrite(full_path, page * 4096, junk)
        try:
            assert everything(full_path) == truth  # a page that nobody needed
        except LedgerError as error:
            assert "is damaged" in str(error)  # noqa: PT017 - either is right
            damaged += 1
        ledger = None
        with contextlib.suppress(LedgerError):
            ledger = open_ledger(full_path)
        if ledger is not None:
            assert ledger.check()
            ledger.close()
    assert damaged >= pages - 2


def test_damage_is_met_in_a_turn_as_well_and_ends_it(full_path: str) -> None:
    whole = Path(full_path).read_bytes()
    for page in range(3, len(whole) // 4096):
        overwrite(full_path, page * 4096, b"\xff" * 4096)
    ledger = open_ledger(full_path)
    for _ in range(2):
        with refused("is damaged"):
            promise(ledger, "role-060", 200)
    ledger.close()


@pytest.mark.parametrize("size", [1, 99, 100, 4096, 9000, -4096])
def test_a_truncated_ledger_is_damage(full_path: str, size: int) -> None:
    os.truncate(full_path, size if size > 0 else os.stat(full_path).st_size + size)
    with refused("is damaged"):
        everything(full_path)


@pytest.mark.parametrize("text", ["", "not a ledger\n" * 1000, "x" * 99])
def test_a_file_of_something_else_is_damage_and_stays_as_it_is(path: str, text: str) -> None:
    if not text:
        build(path, "CREATE TABLE other (a); PRAGMA journal_mode=WAL;")
    else:
        os.makedirs(os.path.dirname(path))
        Path(path).write_text(text)
    before = Path(path).read_bytes()
    with refused("is damaged"):
        Ledger.open(path, NODE)
    assert Path(path).read_bytes() == before


WRONG_ROWS = {
    "no self": "DELETE FROM self",
    "no table": "DROP TABLE register",
    "an accepted above its promise": "UPDATE register SET promised_round = 0",
    "a text for an id": "UPDATE register SET promised_by = 'text'",
    "bytes for a holder": "UPDATE register SET holder = x'00'",
    "a number for a holder": "UPDATE register SET confirmed_holder = CAST(1.5 AS BLOB)",
    "a text that is not UTF-8": "UPDATE register SET holder = CAST(x'fffe' AS TEXT)",
    "a fraction for a round": "UPDATE register SET promised_round = 1e300",
    "a text for a voter": "UPDATE self SET voter = 'me'",
}


@pytest.mark.parametrize("what", WRONG_ROWS)
def test_values_that_no_ledger_writes_are_damage(path: str, what: str) -> None:
    ledger = open_ledger(path)
    with ledger.transaction("leader") as turn:
        turn.save(Register(ballot(3), ballot(2), Tenure(1, "node-2", b"claim--1")))
    ledger.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(WRONG_ROWS[what])
    with refused("is damaged"):
        open_ledger(path).view("leader")
    with refused("is damaged"):
        promise(open_ledger(path), "leader", 9)


def test_bytes_changed_at_random_cause_ledger_errors_and_no_others(full_path: str) -> None:
    """Values may be wrong then (SQLite sums up its log only, not its pages), but nothing else is raised."""
    whole = Path(full_path).read_bytes()
    rng = random.Random(5)
    errors = 0
    for _ in range(250):
        for end in ("-wal", "-shm"):
            Path(full_path + end).unlink(missing_ok=True)
        Path(full_path).write_bytes(whole)
        for _ in range(4):
            # Half of them where they hurt: in the header and at the beginning of a page.
            at = rng.randrange(len(whole))
            at = rng.choice((at, at % 100, at - at % 4096 + rng.randrange(16)))
            overwrite(full_path, at, bytes([rng.randrange(256)]))
        try:
            everything(full_path)
            ledger = open_ledger(full_path)
            promise(ledger, "role-060", 999)
            ledger.close()
        except LedgerError as error:
            assert error.hint  # noqa: PT017 - it need not be raised
            errors += 1
    assert 20 < errors < 250


def test_a_log_cut_short_loses_no_more_than_was_cut(path: str) -> None:
    """What was cut off counts as never written: so a power cut in mid-write looks. Hence the syncing."""
    voter = end_without_closing(path)
    os.truncate(f"{path}-wal", os.stat(f"{path}-wal").st_size - 1)
    ledger = open_ledger(path)
    assert ledger.me().voter == voter
    assert ledger.register("leader") == Register()
    ledger.close()


# Not writable


def test_a_state_directory_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.ledger", tmp_path / "file" / "deeper" / "x.ledger"):
        for create in (True, False):
            with refused("cannot be opened for writing"):
                Ledger.open(str(path), NODE, create=create)


def test_a_ledger_that_is_a_folder_is_said(path: str) -> None:
    os.makedirs(path)
    with refused("cannot be opened for writing"):
        Ledger.open(path, NODE)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user and mounts")


@pytest.fixture
def public_folder() -> Iterator[str]:
    """A folder of this user that others can look into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder


@as_root
@pytest.mark.parametrize("left_by", ["closing", "ending"])
def test_a_ledger_of_another_user_is_an_error_that_names_the_rights(public_folder: str, left_by: str) -> None:
    path = f"{public_folder}/x.ledger"
    if left_by == "closing":
        open_ledger(path).close()
    else:
        end_without_closing(path)

    def use() -> object:
        return promise(open_ledger(path), "leader", 9)

    kind, text, hint = as_user(NOBODY, use)
    assert kind == "LedgerError"
    assert "cannot be opened for writing" in text
    assert "rights" in hint


@as_root
def test_a_folder_of_another_user_is_an_error_that_names_the_rights(public_folder: str) -> None:
    os.mkdir(f"{public_folder}/closed", 0o700)
    os.mkdir(f"{public_folder}/open", 0o755)
    open_ledger(f"{public_folder}/closed/x.ledger").close()
    attempts: list[tuple[str, bool]] = [
        ("closed/x.ledger", True),
        ("closed/x.ledger", False),  # not "there is none"
        ("open/x.ledger", True),
        ("open/deeper/x.ledger", True),
    ]
    for name, create in attempts:
        kind, text, hint = as_user(
            NOBODY, functools.partial(Ledger.open, f"{public_folder}/{name}", NODE, create=create)
        )
        assert kind == "LedgerError", name
        assert "cannot be opened for writing" in text
        assert "rights" in hint


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield str(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@as_root
@pytest.mark.parametrize("left_by", ["closing", "ending"])
def test_a_ledger_on_a_read_only_file_system_is_an_error_and_unchanged(tmp_path: Path, left_by: str) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        path = f"{folder}/x.ledger"
        if left_by == "closing":
            open_ledger(path).close()
        else:
            end_without_closing(path)
        before = Path(path).read_bytes()
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with refused("cannot be opened for writing"), contextlib.closing(open_ledger(path)) as ledger:
            promise(ledger, "leader", 8)
        with refused("cannot be opened for writing"):
            Ledger.open(f"{folder}/new.ledger", NODE)
        assert Path(path).read_bytes() == before
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        ledger = open_ledger(path)
        assert promise(ledger, "leader", 8) == ledger.register("leader")
        ledger.close()


# Full


def fill(folder: str) -> None:
    """Leave no byte free."""
    with open(f"{folder}/filler", "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@as_root
def test_a_full_disk_loses_nothing_and_the_ledger_works_again_by_itself(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        path = f"{folder}/x.ledger"
        ledger = open_ledger(path)
        promise(ledger, "leader", 1)
        fill(folder)
        with refused("the disk is full"):
            for granted in range(1, 10_000):
                promise(ledger, "leader", granted + 1)
        with refused("the disk is full"):
            promise(ledger, "another", 1)
        assert ledger.register("leader").promised == ballot(granted)
        assert everything(path)[1] == ("leader", Register(ballot(granted)))
        os.unlink(f"{folder}/filler")
        assert promise(ledger, "leader", granted + 1).promised == ballot(granted + 1)
        ledger.close()
        assert everything(path)[1:] == [("leader", Register(ballot(granted + 1)))]


@as_root
@pytest.mark.parametrize("where", ["x.ledger", "deeper/x.ledger"])
def test_a_ledger_that_a_full_disk_kept_from_being_made_is_made_later(tmp_path: Path, where: str) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        fill(folder)
        for _ in range(2):
            with refused("the disk is full"):
                Ledger.open(f"{folder}/{where}", NODE)
        os.unlink(f"{folder}/filler")
        assert len(everything(f"{folder}/{where}")) == 1


@as_root
def test_a_disk_without_room_for_the_index_of_the_log_is_called_full(tmp_path: Path) -> None:
    """SQLite itself says "disk I/O error" there."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        path = f"{folder}/x.ledger"
        voter = end_without_closing(path)
        os.unlink(f"{path}-shm")
        fill(folder)
        with refused("the disk is full"):
            Ledger.open(path, NODE)
        os.unlink(f"{folder}/filler")
        ledger = open_ledger(path)
        assert ledger.me().voter == voter
        assert ledger.register("leader").promised == ballot(7)
        ledger.close()


@as_root
def test_a_disk_without_room_for_another_file_is_called_full(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "nr_inodes=3", "tmpfs") as folder:
        Path(f"{folder}/one").touch()
        Path(f"{folder}/two").touch()
        with refused("the disk is full"):
            Ledger.open(f"{folder}/x.ledger", NODE)
        os.unlink(f"{folder}/one")
        with refused("the disk is full"):  # room for the file, but not for its log
            Ledger.open(f"{folder}/x.ledger", NODE)


# All errors


def named(name: str, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("the words of SQLite")
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (named("SQLITE_CORRUPT_INDEX", sqlite3.DatabaseError), "is damaged"),
        (named("SQLITE_NOTADB", sqlite3.DatabaseError), "is damaged"),
        (named("SQLITE_FULL"), "the disk is full"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError(122, "Disk quota exceeded"), "the disk is full"),
        (named("SQLITE_READONLY_DBMOVED"), "cannot be opened for writing"),
        (named("SQLITE_CANTOPEN"), "cannot be opened for writing"),
        (PermissionError(13, "Permission denied"), "cannot be opened for writing"),
        (named("SQLITE_BUSY_RECOVERY"), "locked by another process"),
        (named("SQLITE_IOERR_READ"), "fails: the words of SQLite"),
        (named("SQLITE_PROTOCOL"), "fails: the words of SQLite"),
        (sqlite3.ProgrammingError("of this program"), "fails: of this program"),
    ],
)
def test_every_error_says_which_ledger_what_happened_and_what_to_do(error: Exception, text: str) -> None:
    said = ledger_file.readable(error, "/var/lib/polity/x.ledger")
    assert str(said).startswith("the ledger /var/lib/polity/x.ledger")
    assert text in str(said)
    assert said.hint


def test_an_error_in_the_file_keeps_its_cause_for_the_log(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_text("not a ledger\n" * 1000)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(path, NODE)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
