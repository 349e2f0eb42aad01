"""Waiting for something to become true, with a limit and a reason: never a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from polity_cli.errors import SerfTimeout

T = TypeVar("T")

POLL_S = 0.02


def wait_for(
    predicate: Callable[[], T], timeout_s: float, what: str, *, seen: Callable[[], str] | None = None
) -> T:
    """Returns the first true value of `predicate`, which is asked at least once.

    Raises SerfTimeout after `timeout_s` seconds, with what was awaited and, from `seen`, what there was
    instead. What `predicate` raises ends the wait.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            why = f"; {seen()}" if seen is not None else ""
            raise SerfTimeout(f"waited {timeout_s:g} s for {what}{why}")
        time.sleep(POLL_S)
    return value
