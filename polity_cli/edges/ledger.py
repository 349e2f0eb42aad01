"""A voter's durable memory: one SQLite file per node and namespace.

What a voter promised and accepted must be on the disk before anybody hears of it, survive `kill -9` and a
power cut, and stay in order between several processes at once: hooks, an agent, commands.

- In order: a transaction takes the write lock *before* it reads (`BEGIN IMMEDIATE`), so no two processes act
  on one old state. What is read without it comes from one statement, which sees one state.
- On the disk: with `synchronous=FULL` SQLite syncs the write-ahead log (and, the first time, the folder with
  its name) within each commit, before any process can see it. A log that needs no closing: the file and its
  `-wal` together are the ledger, always; a process may end at any instant, `os._exit` included.
- Before anybody hears: a process killed between the writing and the syncing of its commit leaves it in the
  log, where the next to open the ledger finds it, valid, visible and perhaps not on the disk. So nothing
  that was read is handed out before this connection has synced the log once, by a commit or on purpose.
- Short: the log is moved into the file by one process at a time, and under the write lock. SQLite's own
  automatic checkpoints do without that lock, and up to version 3.51.2 two of them and a writer can meet
  such that commits are lost (sqlite.org/wal.html, "The WAL-Reset Bug").
- Counted: each transaction that changes anything adds a random step to the ledger's serial, which answers
  show. Whoever asks remembers the serials of others and reminds them; the latest ones are kept here. That is
  how a ledger that was set back is found (`core/witness.py`).

A voter is known by a random id that is made with the file. A node that lost its file therefore comes back
as somebody else, and nobody counts it in place of the voter it was. A file that belongs to another node
is refused; so is one of a newer schema. Nothing here ever repairs a damaged file or starts over.
"""

from __future__ import annotations

import os
import sqlite3

from polity_cli.core.ballot import FAST, Ballot
from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.tenure import ELECTORATE, Tenure
from polity_cli.core.voter import Self, on_entering
from polity_cli.core.witness import SET_BACK, reminded_of
from polity_cli.edges import wire
from polity_cli.edges.ledger_file import (
    FAULTS,
    SCHEMA_VERSION,
    Damaged,
    ledger_path,
    open_file,
    readable,
    roll_back,
    sync_folder,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from polity_cli.core.strangers import Sighting

__all__ = ["BUSY_TIMEOUT_S", "SCHEMA_VERSION", "Ledger", "Transaction", "ledger_path"]

BUSY_TIMEOUT_S = 5.0

# Kept short: a hook is often the only process that has the file open, and reads the whole log when it starts.
_LOG_BYTES = 64 * 4096

# A process that was stopped while it read keeps the log from being moved; each commit waits this long for it.
_SHORTEN_PATIENCE_S = 0.1

# Of the latest serials so many are kept at least, and not many more. The steps between them have three bytes:
# that leaves room for a million million.
_PAST = 4096
_STEP_BYTES = 3

_VIEW = """
SELECT voter, polity, epoch, digest, serial, register.* FROM self LEFT JOIN register ON role = ?
"""
_OWN = """
SELECT self.node, self.voter, witness.serial, self.serial,
       coalesce((SELECT min(serial) FROM past), self.serial)
FROM self LEFT JOIN witness ON witness.node = self.node AND witness.voter = self.voter
"""
_REMEMBER = """
INSERT INTO witness VALUES (?, ?, ?)
ON CONFLICT (node, voter) DO UPDATE SET serial = max(serial, excluded.serial)
"""
_SELF_TYPES = (bytes, bytes, int, bytes, int)
_WITNESS_TYPES = (str, bytes, int)
_STRANGER_TYPES = (str, bytes, int)
_REGISTER_TYPES = (
    *(str, int, bytes, int, int, bytes, int),
    *(int, str, bytes, bytes),
    *(int, bytes, int),
    *(int, str, bytes, bytes),
    *(str, str, str, str),
)


class Ledger:
    """An open ledger; not to be shared between threads. Every method may raise LedgerError."""

    def __init__(self, path: str, connection: sqlite3.Connection, busy_timeout_s: float) -> None:
        self.path = path
        self._db = connection
        self._busy_timeout_s = busy_timeout_s
        self._is_synced = False

    @classmethod
    def open(
        cls, path: str, node: str, *, create: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> Ledger | None:
        """Open the ledger of `node`, making it first if there is none and `create` is true.

        Returns None if there is none and `create` is false. Raises LedgerError if the file is damaged, not
        writable, on a full disk, of a newer schema, locked for longer than `busy_timeout_s`, or the ledger
        of another node.
        """
        db = open_file(path, node, create=create, busy_timeout_s=busy_timeout_s)
        return None if db is None else cls(path, db, busy_timeout_s)

    def close(self) -> None:
        """Close the file; whoever closes it last moves what is in the log into it."""
        self._db.close()

    def view(self, role: str) -> tuple[Self, Register]:
        """Who this voter is and what it remembers of a role, both at one instant, without a lock."""
        try:
            found = self._view(role)
        except FAULTS as error:
            raise readable(error, self.path) from error
        self._sync()
        return found

    def me(self) -> Self:
        """Who this voter is and which record it has entered."""
        return self.view(ELECTORATE)[0]

    def register(self, role: str) -> Register:
        """What is remembered of a role, without a lock: for readers only."""
        return self.view(role)[1]

    def roles(self, after: str = "", limit: int = 1000) -> list[str]:
        """Names of roles with any trace, in byte order, from behind `after`; at most `limit`, all if -1."""
        rows = self._ask("SELECT role FROM register WHERE role > ? ORDER BY role LIMIT ?", (after, limit))
        return [str(role) for (role,) in rows]

    def transaction(self, role: str) -> Transaction:
        """The write lock, and what is remembered of a role, until the `with` block ends.

        What was saved in the block is on the disk when it ends; if the block raises, nothing is.
        """
        return Transaction(self, role)

    def record(self, digest: bytes) -> bytes | None:
        """The encoded electorate record of this digest, or None if it is not held whole."""
        rows = self._ask("SELECT pages, data FROM page WHERE digest = ? ORDER BY page", (digest,))
        if not rows or rows[0][0] != len(rows):
            return None
        return b"".join(data for _, data in rows)

    def witness(self) -> dict[tuple[str, bytes], int]:
        """The highest serials that voters were seen to show, by node and id; see `core/witness.py`."""
        rows = self._ask("SELECT node, voter, serial FROM witness", ())
        try:
            for row in rows:
                _check_types(row, _WITNESS_TYPES)
        except Damaged as error:
            raise readable(error, self.path) from error
        return {(node, voter): serial for node, voter, serial in rows}

    def strangers(self) -> dict[str, Sighting]:
        """What is remembered of voters that are not enrolled, by node; see `strangers.py`."""
        rows = self._ask("SELECT node, polity, at FROM stranger", ())
        try:
            for row in rows:
                _check_types(row, _STRANGER_TYPES)
        except Damaged as error:
            raise readable(error, self.path) from error
        from polity_cli.core.strangers import Sighting  # whoever only votes knows of none

        return {node: Sighting(polity, at) for node, polity, at in rows}

    def remember(
        self,
        seen: Mapping[tuple[str, bytes], int],
        strangers: Mapping[str, Sighting | None] | None = None,
    ) -> None:
        """Remember these serials where they are higher, and of `strangers` what is new; None is forgotten.

        On the disk when this returns. That is no change of the voter's own memory, so its own serial stays.
        """
        sightings = strangers or {}
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_REMEMBER, [(*source, serial) for source, serial in seen.items()])
                self._db.executemany("DELETE FROM stranger WHERE node = ?", [(node,) for node in sightings])
                self._db.executemany(
                    "INSERT INTO stranger VALUES (?, ?, ?)",
                    [(node, *at) for node, at in sightings.items() if at is not None],
                )
                self._db.execute("COMMIT")
            except BaseException:
                roll_back(self._db)
                raise
        except FAULTS as error:
            raise readable(error, self.path) from error
        self._is_synced = True
        self._shorten_log()

    def is_set_back(self, reminders: bytes) -> bool:
        """True if this ledger was set back, as `reminders` prove or others before; remembered for good."""
        rows = self._ask(_OWN, ())
        if not rows:
            return False  # whatever is wrong with it, whoever goes on to read it says so
        node, voter, seen, newest, oldest = rows[0]
        if seen == SET_BACK:
            return True
        for serial in reminded_of((node, voter), reminders):
            is_known = self._ask("SELECT 1 FROM past WHERE serial = ?", (serial,))
            if serial > newest or (serial > oldest and not is_known):
                self.remember({(node, voter): SET_BACK})
                return True
        return False

    def check(self) -> list[str]:
        """What SQLite's own integrity check finds wrong; empty if nothing."""
        try:
            found = [row[0] for row in self._db.execute("PRAGMA quick_check")]
        except FAULTS as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def _ask(self, sql: str, values: tuple[object, ...]) -> list[tuple]:  # type: ignore[type-arg]
        try:
            rows = self._db.execute(sql, values).fetchall()
        except FAULTS as error:
            raise readable(error, self.path) from error
        self._sync()
        return rows

    def _view(self, role: str) -> tuple[Self, Register]:
        row = self._db.execute(_VIEW, (role,)).fetchone()
        if row is None:
            raise Damaged("its first table is empty")
        _check_types(row[:5], _SELF_TYPES)
        me = Self(*row[:5])
        if row[5] is None:
            return me, Register()
        row = row[5:]
        _check_types(row, _REGISTER_TYPES)
        register = Register(
            Ballot(*row[1:4]),
            Ballot(*row[4:7]),
            Tenure(*row[7:11], *row[18:20]),
            Ballot(*row[11:14]),
            Tenure(*row[14:18], *row[20:22]),
        )
        if register.promised < register.accepted:
            raise Damaged(f"the role {role!r} was accepted above its promise")
        return me, register

    def _held(self) -> frozenset[bytes]:
        rows = self._db.execute("SELECT digest FROM page GROUP BY digest HAVING count(*) = max(pages)")
        return frozenset(digest for (digest,) in rows)

    def _sync(self) -> None:
        """Put on the disk what this connection found in the log, once; see the top of this file."""
        if self._is_synced or self._db.in_transaction:
            return
        try:
            log = os.open(f"{self.path}-wal", os.O_RDONLY)
            try:
                if os.fstat(log).st_size:
                    os.fdatasync(log)
                    sync_folder(self.path)
            finally:
                os.close(log)
        except FileNotFoundError:
            pass  # the last to close the ledger emptied the log into the file, synced that, and removed it
        except FAULTS as error:
            raise readable(error, self.path) from error
        self._is_synced = True

    def _shorten_log(self) -> None:
        """Move a long log into the file. Failing at that does no harm: the log is the ledger just as well."""
        try:
            if os.stat(f"{self.path}-wal").st_size > _LOG_BYTES:
                self._wait_for_others(_SHORTEN_PATIENCE_S)
                try:
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                finally:
                    self._wait_for_others(self._busy_timeout_s)
        except FAULTS:
            pass

    def _wait_for_others(self, patience_s: float) -> None:
        self._db.execute(f"PRAGMA busy_timeout={int(patience_s * 1000)}").fetchall()


def _check_types(row: tuple[object, ...], types: tuple[type, ...]) -> None:
    """Raise Damaged for values that SQLite would store, but a ledger never does."""
    for value, kind in zip(row, types, strict=True):
        if type(value) is not kind and not (value is None and kind is str):
            raise Damaged(f"{kind.__name__} was expected where it has {type(value).__name__}")


class Transaction:
    """One voter's turn: `me`, `register` and `held` as they are under the write lock; `save` what changes.

    A turn that changed anything is a step in the ledger's serial; `me` shows it once the turn is over.
    """

    def __init__(self, ledger: Ledger, role: str) -> None:
        self._ledger = ledger
        self._role = role
        self._changes = 0
        self.me = Self(b"", NO_POLITY, 0, b"")
        self.register = Register()
        self.held: frozenset[bytes] = frozenset()

    def __enter__(self) -> Transaction:
        ledger = self._ledger
        self._changes = ledger._db.total_changes
        try:
            ledger._db.execute("BEGIN IMMEDIATE")
            try:
                self.me, self.register = ledger._view(self._role)
                if self._role == ELECTORATE:
                    self.held = ledger._held()
            except BaseException:
                roll_back(ledger._db)
                raise
        except FAULTS as error:
            raise readable(error, ledger.path) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ledger = self._ledger
        if kind is not None:
            roll_back(ledger._db)
            return
        has_changed = ledger._db.total_changes != self._changes
        try:
            if has_changed:
                self._count()
            ledger._db.execute("COMMIT")
        except FAULTS as problem:
            roll_back(ledger._db)
            raise readable(problem, ledger.path) from problem
        if not has_changed:
            ledger._sync()
        else:
            ledger._is_synced = True
            ledger._shorten_log()

    def _count(self) -> None:
        db = self._ledger._db
        step = 1 + int.from_bytes(os.urandom(_STEP_BYTES))
        ((serial,),) = db.execute("UPDATE self SET serial = serial + ? RETURNING serial", (step,)).fetchall()
        db.execute("INSERT INTO past VALUES (?)", (serial,))
        if step % 64 == 0:
            db.execute(
                "DELETE FROM past WHERE serial <= "
                "(SELECT serial FROM past ORDER BY serial DESC LIMIT 1 OFFSET ?)",
                (_PAST,),
            )
        self.me = self.me._replace(serial=serial)

    def save(self, register: Register) -> None:
        """Remember `register`; costs nothing where nothing changed."""
        if register != self.register:
            self._put(self._role, register)
            self.register = register

    def start_over(self, me: Self, record: bytes, registers: Mapping[str, Register]) -> None:
        """Be the voter `me`, which has entered `record`, if any; remember `registers` and nothing else.

        What was seen of other voters' ledgers stays: it is true whoever this voter is.
        """
        self._execute("DELETE FROM register", ())
        self._execute("DELETE FROM page", ())
        self._execute("DELETE FROM past", ())
        self._execute("UPDATE self SET voter = ?, serial = 0", (me.voter,))
        pages = wire.pages(record)
        for at, page in enumerate(pages):
            self.save_page(me.digest, at, len(pages), page)
        self.held = frozenset({me.digest} if pages else ())
        self.enter(me)
        for role, register in registers.items():
            self._put(role, register)
        self.register = registers.get(self._role, Register())

    def _put(self, role: str, register: Register) -> None:
        row = (
            role,
            *register.promised,
            *register.accepted,
            *register.tenure[:4],
            *register.confirmed_ballot,
            *register.confirmed[:4],
            *register.tenure[4:],
            *register.confirmed[4:],
        )
        self._execute(f"INSERT OR REPLACE INTO register VALUES ({', '.join('?' * len(row))})", row)

    def save_page(self, digest: bytes, page: int, pages: int, data: bytes) -> bool:
        """Keep a page of a record not yet held; True once it is whole. Pages that belie the digest go."""
        known = self._execute("SELECT pages, data FROM page WHERE digest = ? AND page = ?", (digest, page))
        if known != [(pages, data)]:
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
        """Remember the record that `me` has entered, and what is left of older epochs' votes in its epoch.

        Costs nothing where nothing changed.
        """
        if me == self.me:
            return
        voted = self._execute("SELECT role FROM register WHERE accepted_kind = ?", (FAST,))
        try:
            registers = {role: self._ledger._view(role)[1] for (role,) in voted}
        except FAULTS as error:
            raise readable(error, self._ledger.path) from error
        for role, register in registers.items():
            self._put(role, on_entering(self.me, me.epoch, register))
        self.register = on_entering(self.me, me.epoch, self.register)
        self._execute("UPDATE self SET polity = ?, epoch = ?, digest = ?", (me.polity, me.epoch, me.digest))
        self.me = me

    def _execute(self, sql: str, values: tuple[object, ...]) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._ledger._db.execute(sql, values).fetchall()
        except FAULTS as error:
            raise readable(error, self._ledger.path) from error
