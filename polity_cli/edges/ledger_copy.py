"""Whose ledgers are in a state directory, a copy of one as it is at this moment, and one begun anew.

Nothing is ever moved: hooks and agents may have the file open, and SQLite finds a log by its file's name, not
by the file. Under the write lock the whole ledger is copied to another file, which is synced; then, in one
transaction, the one in place becomes that of another voter. Whoever has it open is that voter from then on. A
process that ends in between leaves a copy, and no change.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from polity_cli.core.ballot import ID_BYTES
from polity_cli.core.messages import NO_POLITY
from polity_cli.core.tenure import ELECTORATE
from polity_cli.core.voter import Self
from polity_cli.edges.ledger_file import FAULTS, readable, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.edges.ledger import Ledger

_SUFFIX = ".ledger"


def ledgers_in(state_dir: str, namespace: str) -> dict[str, str]:
    """Node names to paths of the ledgers of a namespace; raises LedgerError for one that cannot be read."""
    try:
        names = sorted(os.listdir(state_dir))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise readable(error, state_dir) from error
    found = {}
    for name in names:
        if name.startswith(f"{namespace}@") and name.endswith(_SUFFIX):
            path = os.path.join(state_dir, name)
            # From inside: of a long name the file's has only a part.
            try:
                with closing(sqlite3.connect(path)) as db:
                    (node,) = db.execute("SELECT node FROM self").fetchone()
            except (*FAULTS, TypeError) as error:
                raise readable(error, path) from error
            found[str(node)] = path
    return found


def copy_ledger(path: str, copy: str) -> None:
    """Copy a ledger as last committed into one new file, on the disk when this returns. Raises LedgerError.

    Whoever holds the ledger's write lock meanwhile knows that nothing is committed after it.
    """
    try:
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, os.stat(path).st_mode & 0o777))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        file = os.open(copy, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        sync_folder(copy)
    except FAULTS as error:
        raise readable(error, copy) from error


def begin_anew(ledger: Ledger, keep_as: str) -> None:
    """Keep a ledger as the new file `keep_as`; in its place it becomes that of a voter of no polity.

    Raises LedgerError, and nothing is changed then.
    """
    with ledger.transaction(ELECTORATE) as turn:
        copy_ledger(ledger.path, keep_as)
        turn.start_over(Self(os.urandom(ID_BYTES), NO_POLITY, 0, b""), b"", {})
