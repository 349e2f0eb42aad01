"""A ledger begun anew in its place, and what it was kept beside it.

Nothing is moved: hooks and agents may have the file open, and SQLite finds a log by its file's name, not by
the file. Under the write lock the whole ledger is copied to another file, which is synced; then, in one
transaction, the one in place becomes that of another voter, which belongs to no polity and remembers no role.
Whoever has it open is that voter from then on. A process that ends in between leaves a copy, and no change.

What was seen of other voters' ledgers stays: it is true whoever this voter is.
"""

from __future__ import annotations

import os

from polity_cli.core.ballot import ID_BYTES
from polity_cli.core.messages import NO_POLITY
from polity_cli.edges.ledger_file import FAULTS, open_file, readable, roll_back, sync_folder

_PATIENCE_S = 5.0


def begin_anew(path: str, node: str, keep_as: str) -> None:
    """Keep the ledger of `node` as the new file `keep_as` and begin another in its place.

    Raises LedgerError, and nothing is changed then.
    """
    writer = open_file(path, node, create=False, busy_timeout_s=_PATIENCE_S)
    reader = open_file(path, node, create=False, busy_timeout_s=_PATIENCE_S)
    assert writer is not None
    assert reader is not None
    try:
        writer.execute("BEGIN IMMEDIATE")
        try:
            # By another connection, as it is no part of a transaction; nobody writes meanwhile.
            reader.execute("VACUUM INTO ?", (keep_as,))
            _sync(keep_as)
            sync_folder(path)
            writer.execute("DELETE FROM register")
            writer.execute("DELETE FROM page")
            writer.execute(
                "UPDATE self SET voter = ?, polity = ?, epoch = 0, digest = ?, serial = 0",
                (os.urandom(ID_BYTES), NO_POLITY, b""),
            )
            writer.execute("COMMIT")
        except BaseException:
            roll_back(writer)
            raise
    except FAULTS as error:
        raise readable(error, path) from error
    finally:
        reader.close()
        writer.close()


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
