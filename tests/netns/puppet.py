"""`python -m tests.netns.puppet HALT ARGS...`: the command `polity ARGS`, which halts at a certain
message.

HALT is `before:accept`, `after:stand` and so on. The process stops itself (SIGSTOP) the first time it
is about to give such a message to Serf, or when it just has. Whoever started it then lets it go on, or
kills it: that is how a candidate dies, or sleeps, exactly between its two phases. All else is the
shipped command.
"""

from __future__ import annotations

import os
import signal
import sys

from polity_cli.cli.main import main
from polity_cli.core.messages import Query
from polity_cli.edges.network import SerfNetwork


def halt_at(when: str, kind: str) -> None:
    """Make this process stop itself once, `before` or `after` it asks something of this kind."""
    shipped = SerfNetwork.ask
    waiting = [kind]

    def ask(self: SerfNetwork, message: Query, *, again: bool) -> None:
        here = type(message).__name__.lower() in waiting
        if here and when == "before":
            halt()
        shipped(self, message, again=again)
        if here and when == "after":
            halt()

    def halt() -> None:
        waiting.clear()
        os.kill(os.getpid(), signal.SIGSTOP)

    SerfNetwork.ask = ask  # type: ignore[method-assign]


if __name__ == "__main__":
    halt_at(*sys.argv.pop(1).split(":"))
    main()
