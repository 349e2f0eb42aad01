"""What the tests of the ledger share: child processes to be killed, refusals, footprints on the disk."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from polity_cli.core.ballot import Ballot
from polity_cli.core.messages import Register
from polity_cli.edges.ledger import Ledger
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.errors import LedgerError

NODE = "node-1"
HEAR_TIMEOUT_S = 60.0

AnyLedger = Ledger | MemoryLedger


def open_ledger(path: str | Path, node: str = NODE, *, busy_timeout_s: float = 5.0) -> Ledger:
    ledger = Ledger.open(str(path), node, busy_timeout_s=busy_timeout_s)
    assert ledger is not None
    return ledger


def ballot(number: int) -> Ballot:
    return Ballot(number, b"proposer")


def promise(ledger: AnyLedger, role: str, number: int) -> Register:
    """Promise a ballot for a role without asking the rules; returns what is remembered then."""
    with ledger.transaction(role) as turn:
        turn.save(turn.register._replace(promised=ballot(number)))
    return turn.register


@contextlib.contextmanager
def refused(text: str) -> Iterator[None]:
    """The block raises a LedgerError that says `text` and what to do."""
    with pytest.raises(LedgerError, match=text) as caught:
        yield
    assert caught.value.hint
    assert caught.value.exit_code == 8


class Child:
    """A process of its own, forked here, that runs `work(pipe)` and can be killed at once.

    What the child sends is taken by `hear`; a child that wants to stop at a point waits to be told on.
    """

    def __init__(self, work: Callable[[Connection], None]) -> None:
        context = multiprocessing.get_context("fork")
        self._here, there = context.Pipe()
        self._process = context.Process(target=work, args=(there,), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._here.close()

    def hear(self) -> Any:
        """The next thing that the child says; fails if it ended or takes too long."""
        assert self._here.poll(HEAR_TIMEOUT_S), "the child says nothing"
        return self._here.recv()

    def hear_the_rest(self) -> list[Any]:
        """Everything said until the end of the child."""
        said: list[Any] = []
        with contextlib.suppress(EOFError):
            while self._here.poll(HEAR_TIMEOUT_S):
                said.append(self._here.recv())
        return said

    def has_spoken(self) -> bool:
        return self._here.poll()

    def tell(self) -> None:
        """Let a child go on that waits in `pipe.recv()`."""
        self._here.send(None)

    def kill(self) -> None:
        """kill -9, and wait until the process is gone with all its locks."""
        self._process.kill()
        self._process.join()

    def join(self) -> int | None:
        self._process.join(HEAR_TIMEOUT_S)
        return self._process.exitcode


def as_user(uid: int, work: Callable[[], object]) -> Any:
    """What `work` returns, or the error it raises as (type, text, hint), in a child of another user."""

    def run(pipe: Connection) -> None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        try:
            pipe.send(work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            pipe.send((type(error).__name__, str(error), getattr(error, "hint", "")))

    with Child(run) as child:
        return child.hear()


def footprint(path: str | Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of the ledger and its log."""
    found = {}
    for name in (str(path), f"{path}-wal"):
        with contextlib.suppress(FileNotFoundError):
            found[name] = (Path(name).read_bytes(), os.stat(name).st_mtime_ns)
    return found
