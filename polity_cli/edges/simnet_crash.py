"""How a voter's process ends within a message, in `SimNet`: its transaction never gets to the end."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from polity_cli.booth import Turn, VoterLedger
    from polity_cli.core.messages import Register
    from polity_cli.core.voter import Self


class Point(Enum):
    """Where in the handling of a message a voter's process ends."""

    BEFORE_SAVE = "between receiving and saving"
    BEFORE_REPLY = "between saving and replying"


class Crash(Exception):
    """The voter's process ended in the middle of a transaction."""


class CrashingLedger:
    """A ledger whose process ends just before a transaction is saved."""

    def __init__(self, ledger: VoterLedger) -> None:
        self._ledger = ledger

    def me(self) -> Self:
        return self._ledger.me()

    def view(self, role: str) -> tuple[Self, Register]:
        return self._ledger.view(role)

    def roles(self, after: str = "", limit: int = 1000) -> list[str]:
        return self._ledger.roles(after, limit)

    def record(self, digest: bytes) -> bytes | None:
        return self._ledger.record(digest)

    def is_set_back(self, reminders: bytes) -> bool:
        return self._ledger.is_set_back(reminders)

    def transaction(self, role: str) -> _CrashingTurn:
        return _CrashingTurn(self._ledger.transaction(role))


class _CrashingTurn:
    """A transaction that is rolled back in place of being saved."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __enter__(self) -> _CrashingTurn:
        self._turn.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.__exit__(kind, error, trace)

    @property
    def me(self) -> Self:
        return self._turn.me

    @property
    def register(self) -> Register:
        return self._turn.register

    @property
    def held(self) -> frozenset[bytes]:
        return self._turn.held

    def save(self, register: Register) -> None:
        raise Crash

    def save_page(self, digest: bytes, page: int, pages: int, data: bytes) -> bool:
        raise Crash

    def enter(self, me: Self) -> None:
        raise Crash
