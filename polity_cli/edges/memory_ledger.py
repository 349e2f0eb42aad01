"""The ledger's twin in memory, for simulations: the same verbs, nothing on a disk."""

from __future__ import annotations

from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.tenure import ELECTORATE
from polity_cli.core.voter import Self
from polity_cli.edges import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class MemoryLedger:
    """Remembers like `Ledger` for as long as it lives; what a block that raises saved is forgotten."""

    def __init__(self, voter: bytes) -> None:
        self._me = Self(voter, NO_POLITY, 0, b"")
        self._registers: dict[str, Register] = {}
        self._pages: dict[bytes, dict[int, tuple[int, bytes]]] = {}

    def close(self) -> None:
        """Nothing to close."""

    def me(self) -> Self:
        return self._me

    def register(self, role: str) -> Register:
        return self._registers.get(role, Register())

    def roles(self, after: str = "", limit: int = 1000) -> list[str]:
        return sorted((role for role in self._registers if role > after), key=str.encode)[:limit]

    def transaction(self, role: str) -> MemoryTransaction:
        return MemoryTransaction(self, role)

    def record(self, digest: bytes) -> bytes | None:
        kept = self._pages.get(digest, {})
        if not kept or kept[min(kept)][0] != len(kept):
            return None
        return b"".join(kept[page][1] for page in sorted(kept))


class MemoryTransaction:
    """See `ledger.Transaction`."""

    def __init__(self, ledger: MemoryLedger, role: str) -> None:
        self._ledger = ledger
        self._role = role
        self.me = ledger._me
        self.register = ledger.register(role)
        self.held: frozenset[bytes] = frozenset()
        if role == ELECTORATE:
            self.held = frozenset(d for d in ledger._pages if ledger.record(d) is not None)
        self._pages = {digest: dict(kept) for digest, kept in ledger._pages.items()}

    def __enter__(self) -> MemoryTransaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._ledger._pages = self._pages
            return
        self._ledger._me = self.me
        if self.register != self._ledger.register(self._role):
            self._ledger._registers[self._role] = self.register

    def save(self, register: Register) -> None:
        self.register = register

    def save_page(self, digest: bytes, page: int, pages: int, data: bytes) -> bool:
        kept = self._ledger._pages.get(digest, {})
        kept = {at: held for at, held in kept.items() if held[0] == pages} | {page: (pages, data)}
        self._ledger._pages[digest] = kept
        record = self._ledger.record(digest)
        if record is None:
            return False
        if digest != wire.digest(record):
            del self._ledger._pages[digest]
            return False
        self.held |= {digest}
        return True

    def enter(self, me: Self) -> None:
        self.me = me
