"""What a command shows of its waiting: a line on a terminal after a second, or everything with --verbose."""

from __future__ import annotations

import sys

from polity_cli.conduct import Got, Sent, Waiting
from polity_cli.core.messages import Accept, Prepare, Read, RoleQuery, Stand, State, describe
from polity_cli.core.tally import vote_of

SHOWN_AFTER_S = 1.0


class Progress:
    """A watcher for a session. On a terminal the line is drawn over itself, and `clear` takes it away."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._terminal = sys.stderr.isatty()
        self._drawn = False
        self._asked: RoleQuery | None = None

    def __call__(self, event: Sent | Got | Waiting) -> None:
        if isinstance(event, Sent) and isinstance(event.message, Read | Prepare | Accept | Stand):
            self._asked = event.message
        if self._verbose:
            self.say(f"{event.after_s * 1000:7.0f} ms  {self._tell(event)}")
        elif self._terminal and isinstance(event, Waiting) and event.after_s >= SHOWN_AFTER_S:
            sys.stderr.write(f"\r\x1b[Kpolity: {event.after_s:.0f} s, {self._tell(event)}")
            sys.stderr.flush()
            self._drawn = True

    def say(self, text: str) -> None:
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

    def _tell(self, event: Sent | Got | Waiting) -> str:
        match event:
            case Sent(message=message, again=again):
                return f"--> {describe(message)}{' (again)' if again else ''}"
            case Got(node=node, reply=reply, counts=counts):
                vote = ""
                if self._asked is not None and isinstance(reply, State):
                    vote = vote_of(self._asked, reply)
                said = f"{vote}; {describe(reply)}" if vote else describe(reply)
                return f"<-- {node}: {said}{'' if counts else ' (not counted)'}"
            case Waiting(what=what, have=have, need=need, nodes=nodes):
                missing = f"; waiting for {', '.join(nodes)}" if nodes else ""
                return f"{what}: {have} of {need} answers{missing}"
