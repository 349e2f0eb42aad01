"""The file under a ledger: where it lies, how it is opened and made, and what may be wrong with it.

A file is made by whoever comes first, in one transaction under the exclusive lock, so that it has either
nobody's voter id in it or one for good. Nothing here repairs a damaged file or starts over by itself.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from time import monotonic, sleep

from polity_cli.core.ballot import ID_BYTES
from polity_cli.core.messages import NO_POLITY
from polity_cli.core.tenure import MAX_NODE_BYTES, check_name
from polity_cli.errors import BadInput, LedgerError

SCHEMA_VERSION = 3

# What brings an empty file to schema 1, and each schema to the next one.
_STEPS = (
    """
CREATE TABLE self (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    voter BLOB NOT NULL, node TEXT NOT NULL,
    polity BLOB NOT NULL, epoch INTEGER NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE register (
    role TEXT PRIMARY KEY,
    promised_round INTEGER NOT NULL, promised_by BLOB NOT NULL, promised_kind INTEGER NOT NULL,
    accepted_round INTEGER NOT NULL, accepted_by BLOB NOT NULL, accepted_kind INTEGER NOT NULL,
    term INTEGER NOT NULL, holder TEXT, claim BLOB NOT NULL, after BLOB NOT NULL,
    confirmed_round INTEGER NOT NULL, confirmed_by BLOB NOT NULL, confirmed_kind INTEGER NOT NULL,
    confirmed_term INTEGER NOT NULL, confirmed_holder TEXT,
    confirmed_claim BLOB NOT NULL, confirmed_after BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE page (
    digest BLOB NOT NULL, page INTEGER NOT NULL, pages INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (digest, page)
) WITHOUT ROWID;
""",
    """
ALTER TABLE self ADD COLUMN serial INTEGER NOT NULL DEFAULT 0;
CREATE TABLE witness (
    node TEXT NOT NULL, voter BLOB NOT NULL, serial INTEGER NOT NULL,
    PRIMARY KEY (node, voter)
) WITHOUT ROWID;
""",
    """
ALTER TABLE register ADD COLUMN slot TEXT NOT NULL DEFAULT '';
ALTER TABLE register ADD COLUMN after_slot TEXT NOT NULL DEFAULT '';
ALTER TABLE register ADD COLUMN confirmed_slot TEXT NOT NULL DEFAULT '';
ALTER TABLE register ADD COLUMN confirmed_after_slot TEXT NOT NULL DEFAULT '';
CREATE TABLE past (serial INTEGER PRIMARY KEY);
INSERT INTO past SELECT serial FROM self;
CREATE TABLE stranger (
    node TEXT PRIMARY KEY, polity BLOB NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;
""",
)

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_MAX_FILE_NAME = 200


class Damaged(sqlite3.DatabaseError):
    """What SQLite read without complaint, but nobody here can have written."""


FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What using a ledger's file raises; the last where SQLite's message quotes from a damaged file."""

# A header; SQLite takes a file that is shorter for a new one.
_MIN_FILE_BYTES = 100


def ledger_path(state_dir: str, namespace: str, node: str) -> str:
    """Where the ledger of a node lies; several nodes and namespaces may share a state directory."""
    name = f"{_file_name(namespace)}@{_file_name(node)}"
    if len(name) > _MAX_FILE_NAME:
        import hashlib  # costs more than all the rest, and only long names outside ASCII need it

        name = f"{name[:_MAX_FILE_NAME]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return os.path.join(state_dir, f"{name}.ledger")


def _file_name(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if b in _PLAIN else f"%{b:02x}" for b in raw)


def open_file(path: str, node: str, *, create: bool, busy_timeout_s: float) -> sqlite3.Connection | None:
    """A connection to the ledger file of `node`, or None if there is none and `create` is false.

    Commits through it are durable when they return. Raises LedgerError if anything is wrong with the file;
    what is there then stays as it is.
    """
    _check_node(node)
    try:
        size = _size(path)
        if size and size < _MIN_FILE_BYTES and os.path.isfile(path):
            raise Damaged(f"it has {size} bytes")
        if not size:
            log = f"{path}-wal"
            if os.path.exists(log) and not _size(path):
                raise LedgerError(
                    f"the ledger {path} is gone, but its log is there: {log}",
                    hint="the two belong together: put the ledger back, or move the log away as well, and "
                    "this node becomes a new voter",
                )
            if _size(path) is None:
                if not create:
                    return None
                _make_folder(os.path.dirname(path))
        db = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
    except FAULTS as error:
        raise readable(error, path) from error
    try:
        _prepare(db, path, node, busy_timeout_s)
    except FAULTS as error:
        db.close()
        raise readable(error, path) from error
    except BaseException:
        db.close()
        raise
    return db


def _check_node(node: str) -> None:
    try:
        check_name(node, "node name", MAX_NODE_BYTES)
    except BadInput as error:
        raise LedgerError(
            f"no ledger can be kept for this node: {error}",
            hint="give the Serf agent another name (serf agent -node=...)",
        ) from error


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _prepare(db: sqlite3.Connection, path: str, node: str, busy_timeout_s: float) -> None:
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=0")  # see Ledger._shorten_log
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {path} is of schema {version}; this polity knows {SCHEMA_VERSION} at most",
            hint="install the newer polity that wrote it on this node again; keep the file as it is",
        )
    _use_log(db, path, busy_timeout_s)
    if version < SCHEMA_VERSION:
        _migrate(db, node)
        sync_folder(path)
    row = db.execute("SELECT node FROM self").fetchone()
    if row is None:
        raise Damaged("its first table is empty")
    if row[0] != node:
        raise LedgerError(
            f"the ledger {path} belongs to the node {row[0]!r}, not to {node!r}",
            hint="a copied ledger must not vote: move it away, and this node becomes a new voter",
        )


def _use_log(db: sqlite3.Connection, path: str, busy_timeout_s: float) -> None:
    """Switch to the write-ahead log, where the file is not of that kind yet.

    Waits here while others have a new file open: SQLite does not let its busy handler serve this statement.
    """
    until = monotonic() + busy_timeout_s
    while True:
        try:
            (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or monotonic() > until:
                raise
            sleep(0.002)
    if mode != "wal":
        raise LedgerError(
            f"the ledger {path} lies on a file system without the shared memory it needs",
            hint="keep it on a local disk: name another folder with --state-dir or POLITY_STATE_DIR",
        )


def _migrate(db: sqlite3.Connection, node: str) -> None:
    """Bring a file of an older schema (an empty one is of schema 0) to the present one, or not at all."""
    db.execute("BEGIN EXCLUSIVE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables:
                raise Damaged("it has tables, but no schema version")
        for step in _STEPS[version:]:
            for statement in step.split(";"):
                db.execute(statement)
        if version == 0:
            me = (1, os.urandom(ID_BYTES), node, NO_POLITY, 0, b"", 0)
            db.execute("INSERT INTO self VALUES (?, ?, ?, ?, ?, ?, ?)", me)
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise


def roll_back(db: sqlite3.Connection) -> None:
    """End a transaction that failed."""
    try:  # noqa: SIM105 - the hook does not load contextlib
        db.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # SQLite ends some by itself; and what went wrong before is what has to be told


def _make_folder(folder: str) -> None:
    """Make a folder and what is missing above it, with names that outlast a power cut."""
    if not folder or os.path.isdir(folder):
        return
    _make_folder(os.path.dirname(folder))
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
    sync_folder(folder)


def sync_folder(path: str) -> None:
    """Make the name of a new file or folder durable."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def readable(error: Exception, path: str) -> LedgerError:
    """Tell what happened to a ledger in words an operator can act on."""
    name = getattr(error, "sqlite_errorname", None) or ""
    where = f"the ledger {path}"
    # An error of sqlite3 without SQLite's own name for it: a text in the file that is not UTF-8.
    nameless = not name and isinstance(error, sqlite3.OperationalError)
    if (
        name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
        or isinstance(error, Damaged | UnicodeDecodeError)
        or nameless
        or (name == "SQLITE_ERROR" and "no such" in str(error))
    ):
        return LedgerError(
            f"{where} is damaged: {error}",
            hint="this node does not vote. Stop what has it open and move the file away with its -wal and "
            "-shm (keep them): the node becomes a new voter, which this electorate does not count",
        )
    if (
        name == "SQLITE_FULL"
        or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        or (name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _is_full(path))
    ):
        return LedgerError(
            f"{where} cannot grow, the disk is full",
            hint="free some space on that file system; nothing was lost, the voter answers again by itself",
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")) or isinstance(error, OSError):
        return LedgerError(
            f"{where} cannot be opened for writing: {error}",
            hint="check the rights of its folder, or name another with --state-dir or POLITY_STATE_DIR",
        )
    if name.startswith("SQLITE_BUSY"):
        return LedgerError(
            f"{where} stays locked by another process", hint=f"see who holds it open: fuser -v {path}"
        )
    return LedgerError(f"{where} fails: {error}", hint="check the disk (dmesg) and run `polity doctor`")


def _is_full(path: str) -> bool:
    """True if not even SQLite's index of the log fits any more; it reports that as an input/output error."""
    try:
        disk = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 65_536 or disk.f_favail == 0 < disk.f_files
