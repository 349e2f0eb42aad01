"""Real ledgers, SQLite files, for schedules of the simulator."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from polity_cli.edges.ledger import Ledger

if TYPE_CHECKING:
    from polity_cli.booth import VoterLedger


class SqliteDisks:
    """One file per voter in a folder. When a voter's process ends, its connection ends with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[Ledger] = []

    def new(self, voter: bytes) -> VoterLedger:
        path = self._folder / f"{voter.decode()}.db"
        self._ledger(path).close()
        # The id is drawn when the file is made; a schedule wants the one that its seed gives.
        with sqlite3.connect(path) as db:
            db.execute("UPDATE self SET voter = ?", (voter,))
        db.close()
        return self._ledger(path)

    def again(self, ledger: VoterLedger) -> VoterLedger:
        assert isinstance(ledger, Ledger)
        ledger.close()
        return self._ledger(Path(ledger.path))

    def close(self) -> None:
        for ledger in self._open:
            ledger.close()

    def _ledger(self, path: Path) -> Ledger:
        ledger = Ledger.open(str(path), path.stem)
        assert ledger is not None
        self._open.append(ledger)
        return ledger
