"""The ledger's twin in memory, for simulations: the same verbs, nothing on a disk."""

from __future__ import annotations

from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.tenure import ELECTORATE
from polity_cli.core.voter import Self, on_entering
from polity_cli.edges import wire
from polity_cli.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from polity_cli.core.strangers import Sighting


class MemoryLedger:
    """Remembers like `Ledger` for as long as it lives; what a block that raises saved is forgotten."""

    def __init__(self, voter: bytes) -> None:
        self._me = Self(voter, NO_POLITY, 0, b"")
        self._registers: dict[str, Register] = {}
        # Replaced as a whole, never changed in place: a transaction that fails puts the old one back.
        self._pages: dict[bytes, dict[int, tuple[int, bytes]]] = {}
        self._witness: dict[tuple[str, bytes], int] = {}
        self._strangers: dict[str, Sighting] = {}
        self._is_locked = False

    def close(self) -> None:
        """Nothing to close."""

    def view(self, role: str) -> tuple[Self, Register]:
        return self._me, self._registers.get(role, Register())

    def me(self) -> Self:
        return self._me

    def register(self, role: str) -> Register:
        return self.view(role)[1]

    def roles(self, after: str = "", limit: int = 1000) -> list[str]:
        found = sorted((role for role in self._registers if role > after), key=str.encode)
        return found if limit < 0 else found[:limit]

    def transaction(self, role: str) -> MemoryTransaction:
        return MemoryTransaction(self, role)

    def record(self, digest: bytes) -> bytes | None:
        kept = self._pages.get(digest, {})
        if not kept or kept[min(kept)][0] != len(kept):
            return None
        return b"".join(kept[page][1] for page in sorted(kept))

    def witness(self) -> dict[tuple[str, bytes], int]:
        return dict(self._witness)

    def strangers(self) -> dict[str, Sighting]:
        return dict(self._strangers)

    def remember(
        self,
        seen: Mapping[tuple[str, bytes], int],
        strangers: Mapping[str, Sighting | None] | None = None,
    ) -> None:
        for source, serial in seen.items():
            self._witness[source] = max(serial, self._witness.get(source, serial))
        sightings = {**self._strangers, **(strangers or {})}
        self._strangers = {node: at for node, at in sightings.items() if at is not None}

    def is_set_back(self, reminders: bytes) -> bool:
        """Nobody has a copy of it to put in its place."""
        return False

    def check(self) -> list[str]:
        return []


class MemoryTransaction:
    """See `ledger.Transaction`."""

    def __init__(self, ledger: MemoryLedger, role: str) -> None:
        self._ledger = ledger
        self._role = role
        self._has_changed = False
        self._entered: dict[str, Register] | None = None
        self.me = Self(b"", NO_POLITY, 0, b"")
        self.register = Register()
        self.held: frozenset[bytes] = frozenset()

    def __enter__(self) -> MemoryTransaction:
        ledger = self._ledger
        if ledger._is_locked:
            raise LedgerError("the ledger in memory fails: a transaction within a transaction")
        ledger._is_locked = True
        self.me, self.register = ledger.view(self._role)
        self._pages = ledger._pages
        if self._role == ELECTORATE:
            self.held = frozenset(d for d in ledger._pages if ledger.record(d) is not None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ledger = self._ledger
        ledger._is_locked = False
        if kind is not None:
            ledger._pages = self._pages
            return
        if self._entered is not None:
            ledger._registers = self._entered
        if self.register != ledger.register(self._role):
            ledger._registers[self._role] = self.register
        if self._has_changed:
            self.me = self.me._replace(serial=self.me.serial + 1)
        ledger._me = self.me

    def save(self, register: Register) -> None:
        self._has_changed |= register != self.register
        self.register = register

    def save_page(self, digest: bytes, page: int, pages: int, data: bytes) -> bool:
        kept = self._ledger._pages.get(digest, {})
        if kept.get(page) != (pages, data):
            kept = {at: held for at, held in kept.items() if held[0] == pages} | {page: (pages, data)}
            self._ledger._pages = {**self._ledger._pages, digest: kept}
            self._has_changed = True
        record = self._ledger.record(digest)
        if record is None:
            return False
        if digest != wire.digest(record):
            self._ledger._pages = {d: p for d, p in self._ledger._pages.items() if d != digest}
            return False
        self.held |= {digest}
        return True

    def enter(self, me: Self) -> None:
        if me == self.me:
            return
        self._has_changed = True
        self._entered = {
            role: on_entering(self.me, me.epoch, register)
            for role, register in self._ledger._registers.items()
        }
        self.register = on_entering(self.me, me.epoch, self.register)
        self.me = me
