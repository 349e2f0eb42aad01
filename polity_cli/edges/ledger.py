"""A voter's durable memory: one SQLite file per node and namespace.

What a voter promised and accepted must be on the disk before anybody hears of it, survive `kill -9` and a
power cut, and stay in order between several processes at once: hooks, an agent, commands. SQLite gives all
three: the write-ahead log is synced at each commit (`synchronous=FULL`), and a transaction takes the write
lock *before* it reads (`BEGIN IMMEDIATE`), so no two processes act on one old state.

A voter is known by a random id that is made with the file. A node that lost its file therefore comes back
as somebody else, and nobody counts it in place of the voter it was. A file that belongs to another node
is refused; so is one of a newer schema. Nothing here ever repairs a damaged file or starts over.
"""

from __future__ import annotations

import os
import sqlite3

from polity_cli.core.ballot import ID_BYTES, Ballot
from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.tenure import ELECTORATE, Tenure
from polity_cli.core.voter import Self
from polity_cli.edges import wire
from polity_cli.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0

# Kept short: a hook is often the only process that has the file open, and reads the log when it starts.
_CHECKPOINT_PAGES = 64

_SCHEMA = """
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
"""


def ledger_path(state_dir: str, namespace: str, node: str) -> str:
    """Where the ledger of a node lies; several nodes and namespaces may share a state directory."""
    return os.path.join(state_dir, f"{_file_name(namespace)}@{_file_name(node)}.ledger")


def _file_name(text: str) -> str:
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if chr(b) in plain else f"%{b:02x}" for b in raw)


class Ledger:
    """An open ledger; not to be shared between threads. Every method may raise LedgerError."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: str, node: str, *, create: bool = True) -> Ledger | None:
        """Open the ledger of `node`, making it first if there is none and `create` is true.

        Returns None if there is none and `create` is false. Raises LedgerError if the file is damaged, not
        writable, on a full disk, of a newer schema, or the ledger of another node.
        """
        is_new = not os.path.exists(path)
        if is_new and not create:
            return None
        try:
            if is_new:
                os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
            db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _readable(error, path) from error
        ledger = cls(path, db)
        try:
            ledger._prepare(node)
            if is_new:
                _sync_folder(path)
        except (OSError, sqlite3.Error) as error:
            ledger.close()
            raise _readable(error, path) from error
        except LedgerError:
            ledger.close()
            raise
        return ledger

    def _prepare(self, node: str) -> None:
        db = self._db
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.execute("PRAGMA journal_mode=WAL")
            self._migrate(node)
            (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise LedgerError(
                f"the ledger {self.path} is of schema {version}; this polity knows {SCHEMA_VERSION} at most",
                hint="install the newer polity that wrote it on this node again; keep the file as it is",
            )
        row = db.execute("SELECT node FROM self").fetchone()
        if row is None:
            raise sqlite3.DatabaseError("its first table is empty")
        if row[0] != node:
            raise LedgerError(
                f"the ledger {self.path} belongs to the node {row[0]!r}, not to {node!r}",
                hint="a copied ledger must not vote: move it away, and this node becomes a new voter",
            )

    def _migrate(self, node: str) -> None:
        """Bring a file of an older schema (an empty one is of schema 0) to the present one, or not at all."""
        db = self._db
        db.execute("BEGIN EXCLUSIVE")
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(
                    "INSERT INTO self VALUES (1, ?, ?, ?, 0, ?)", (os.urandom(ID_BYTES), node, NO_POLITY, b"")
                )
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()

    def me(self) -> Self:
        """Who this voter is and which record it has entered."""
        try:
            return self._me()
        except sqlite3.Error as error:
            raise _readable(error, self.path) from error

    def register(self, role: str) -> Register:
        """What is remembered of a role, without a lock: for readers only."""
        try:
            return self._register(role)
        except sqlite3.Error as error:
            raise _readable(error, self.path) from error

    def roles(self, after: str = "", limit: int = 1000) -> list[str]:
        """Names of roles with any trace, in byte order, at most `limit`, beginning behind `after`."""
        try:
            rows = self._db.execute(
                "SELECT role FROM register WHERE role > ? ORDER BY role LIMIT ?", (after, limit)
            )
            return [role for (role,) in rows]
        except sqlite3.Error as error:
            raise _readable(error, self.path) from error

    def transaction(self, role: str) -> Transaction:
        """The write lock, and what is remembered of a role, until the `with` block ends.

        What was saved in the block is on the disk when it ends; if the block raises, nothing is.
        """
        return Transaction(self, role)

    def record(self, digest: bytes) -> bytes | None:
        """The encoded electorate record of this digest, or None if it is not held whole."""
        try:
            rows = self._db.execute(
                "SELECT pages, data FROM page WHERE digest = ? ORDER BY page", (digest,)
            ).fetchall()
        except sqlite3.Error as error:
            raise _readable(error, self.path) from error
        if not rows or rows[0][0] != len(rows):
            return None
        return b"".join(data for _, data in rows)

    def check(self) -> list[str]:
        """What SQLite's own integrity check finds wrong; empty if nothing."""
        try:
            found = [row[0] for row in self._db.execute("PRAGMA quick_check")]
        except sqlite3.Error as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def _me(self) -> Self:
        return Self(*self._db.execute("SELECT voter, polity, epoch, digest FROM self").fetchone())

    def _register(self, role: str) -> Register:
        row = self._db.execute("SELECT * FROM register WHERE role = ?", (role,)).fetchone()
        if row is None:
            return Register()
        register = Register(
            Ballot(*row[1:4]), Ballot(*row[4:7]), Tenure(*row[7:11]), Ballot(*row[11:14]), Tenure(*row[14:18])
        )
        if register.promised < register.accepted:
            raise sqlite3.DatabaseError(f"the role {role!r} was accepted above its promise")
        return register

    def _held(self) -> frozenset[bytes]:
        rows = self._db.execute("SELECT digest FROM page GROUP BY digest HAVING count(*) = max(pages)")
        return frozenset(digest for (digest,) in rows)


class Transaction:
    """One voter's turn: `me`, `register` and `held` as they are under the write lock; `save` what changes."""

    def __init__(self, ledger: Ledger, role: str) -> None:
        self._ledger = ledger
        self._role = role
        self.me = Self(b"", NO_POLITY, 0, b"")
        self.register = Register()
        self.held: frozenset[bytes] = frozenset()

    def __enter__(self) -> Transaction:
        ledger = self._ledger
        try:
            ledger._db.execute("BEGIN IMMEDIATE")
            try:
                self.me = ledger._me()
                self.register = ledger._register(self._role)
                if self._role == ELECTORATE:
                    self.held = ledger._held()
            except BaseException:
                ledger._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _readable(error, ledger.path) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        db = self._ledger._db
        try:
            if kind is None:
                db.execute("COMMIT")
            elif db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error as problem:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise _readable(problem, self._ledger.path) from problem

    def save(self, register: Register) -> None:
        """Remember `register`; costs nothing where nothing changed."""
        if register == self.register:
            return
        row = (
            self._role,
            *register.promised,
            *register.accepted,
            *register.tenure,
            *register.confirmed_ballot,
            *register.confirmed,
        )
        self._execute(f"INSERT OR REPLACE INTO register VALUES ({', '.join('?' * len(row))})", row)
        self.register = register

    def save_page(self, digest: bytes, page: int, pages: int, data: bytes) -> bool:
        """Keep a page of a record not yet held; True once it is whole. Pages that belie the digest are dropped."""
        self._execute("DELETE FROM page WHERE digest = ? AND pages != ?", (digest, pages))
        self._execute("INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?)", (digest, page, pages, data))
        record = self._ledger.record(digest)
        if record is None:
            return False
        if digest != wire.digest(record):
            self._execute("DELETE FROM page WHERE digest = ?", (digest,))
            return False
        self.held |= {digest}
        return True

    def enter(self, me: Self) -> None:
        """Remember the record that `me` has entered."""
        self._execute("UPDATE self SET polity = ?, epoch = ?, digest = ?", (me.polity, me.epoch, me.digest))
        self.me = me

    def _execute(self, sql: str, values: tuple[object, ...]) -> None:
        try:
            self._ledger._db.execute(sql, values)
        except sqlite3.Error as error:
            raise _readable(error, self._ledger.path) from error


def _sync_folder(path: str) -> None:
    """Make the new file's name durable; SQLite does that for its logs, not for the database itself."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _readable(error: Exception, path: str) -> LedgerError:
    """Tell what happened to the ledger in words an operator can act on."""
    name = getattr(error, "sqlite_errorname", "") or ""
    where = f"the ledger {path}"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or (
        not name and isinstance(error, sqlite3.DatabaseError)
    ):
        return LedgerError(
            f"{where} is damaged: {error}",
            hint="this node does not vote. Move the file away (keep it): the node becomes a new voter, "
            "which must be enrolled in place of the old one",
        )
    if name == "SQLITE_FULL":
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
            f"{where} stayed locked by another process for {BUSY_TIMEOUT_S:g} seconds",
            hint=f"see who holds it open: fuser -v {path}",
        )
    return LedgerError(f"{where} fails: {error}", hint="check the disk (dmesg) and run `polity doctor`")
