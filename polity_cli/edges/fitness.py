"""Whether this node is fit for a role: the command `only_if` of its table, run within its time limit."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.core.succession import Succession


class Fitness:
    """One run of an `only_if`, with its time limit. It says nothing but its exit code."""

    def __init__(self, wish: Succession, node: str) -> None:
        self._limit_s = wish.only_if_timeout
        self._until_s = monotonic() + self._limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._error = ""
        try:
            self._process = subprocess.Popen(
                wish.only_if,
                env={**os.environ, "POLITY_ROLE": wish.role, "POLITY_NODE": node},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._error = f"only_if cannot be started: {error.strerror}"

    def verdict(self) -> str | None:
        """Why this node is not fit, "" if it is; None while that is not known."""
        if self._process is None:
            return self._error
        code = self._process.poll()
        if code is None:
            if monotonic() < self._until_s:
                return None
            self.kill()
            return f"only_if did not end within {self._limit_s:g} s"
        return f"only_if ended with {code}" if code else ""

    def kill(self) -> None:
        """End it, with all that it has started."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
