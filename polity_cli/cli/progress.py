"""What a command shows of its waiting: a line on a terminal after a second, or everything with --verbose."""

from __future__ import annotations

import contextlib
import os
import sys
from time import monotonic

from polity_cli.asking import STRANGERS, Got, Sent, Waiting
from polity_cli.cli.running import plain, say
from polity_cli.core.messages import Accept, Announce, Prepare, Read, Reply, Stand, State, describe
from polity_cli.core.tally import vote_of
from polity_cli.core.witness import way_out
from polity_cli.errors import SerfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polity_cli.core.messages import Query
    from polity_cli.edges.network import Node

SHOWN_AFTER_S = 1.0

# What the voters are asked for in each phase of an operation; the phases of a founding name themselves.
_WANTED = {
    "look": "answers",
    "stand": "votes",
    "prepare": "promises",
    "accept": "acceptances",
    STRANGERS: "voters that are not enrolled",
}
_YIELDING = ("yield", "waiting for another founder")


class Progress:
    """A watcher for a session. On a terminal the line is drawn over itself, and `clear` takes it away.

    `members` gives Serf's view of the nodes, once there is a session to ask.
    """

    def __init__(self, *, verbose: bool, started: float) -> None:
        self.members: Callable[[], tuple[Node, ...]] = tuple
        self._verbose = verbose
        self._started = started
        self._drawing = not verbose and _is_terminal()
        self._drawn = False
        self._asked: dict[bytes, Query] = {}
        self._attempt = b""
        self._answered: set[str] = set()
        self._since: set[str] = set()
        self._waiting: Waiting | None = None

    def __call__(self, event: Sent | Got | Waiting) -> None:
        match event:
            case Sent(message=message, again=again):
                if not isinstance(message, Announce):
                    if not again:
                        self._answered, self._waiting = set(), None
                    self._attempt = message.attempt
                    self._asked[message.attempt] = message
                if self._verbose:
                    self._tell(f"--> {describe(message)}{' (again)' if again else ''}")
            case Got(node=node, reply=reply, counts=counts):
                if counts:
                    self._answered.add(node)
                    self._since.add(node)
                if self._verbose:
                    self._tell(f"<-- {node}: {self._vote(reply)}{describe(reply)}{self._ignored(event)}")
            case Waiting():
                self._waiting, self._since = event, set()
                if self._verbose:
                    self._tell(self._line())
        if self._drawing and self._is_late():
            self.draw(self._line())

    def note(self, text: str) -> None:
        """Why it is not over yet, where no event says so."""
        if self._verbose:
            self._tell(f"waiting: {text}")
        elif self._is_late():
            self.draw(f"waiting: {text}")

    def end(self, unreadable: int, set_back: Sequence[str] = ()) -> None:
        """The operation is over; `unreadable` answers made no sense, those of `set_back` did not count."""
        self.clear()
        if set_back:
            say(way_out(set_back))
        if unreadable:
            plural = "" if unreadable == 1 else "s"
            whose = "another version of polity, or another program's"
            say(f"{unreadable} answer{plural} could not be read ({whose})")

    def draw(self, line: str) -> None:
        """Show the line in place of the last one. Written past all buffers: a signal handler may call it."""
        if self._drawing:
            _write(f"\r\x1b[K{plain(line)[: _width() - 1]}")
            self._drawn = True

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            _write("\r\x1b[K")
            self._drawn = False

    def _is_late(self) -> bool:
        return monotonic() - self._started >= SHOWN_AFTER_S

    def _tell(self, line: str) -> None:
        say(f"{(monotonic() - self._started) * 1000:7.1f} ms  {line}")

    def _vote(self, reply: Reply) -> str:
        asked = self._asked.get(reply.attempt)
        if not isinstance(reply, State) or not isinstance(asked, Read | Prepare | Accept | Stand):
            return ""
        vote = vote_of(asked, reply)
        return f"{vote}; " if vote else ""

    def _ignored(self, got: Got) -> str:
        if got.reply.attempt not in self._asked:
            return " (ignored: answers nothing that was asked here)"
        if got.set_back:
            return " (ignored: its ledger was set back)"
        if got.counts:
            return ""
        if got.reply.attempt != self._attempt:
            return " (ignored: late, of an earlier attempt)"
        return f" (ignored: a stranger, voter {got.reply.voter.hex()} is not enrolled on that node)"

    def _line(self) -> str:
        waiting = self._waiting
        if waiting is not None and waiting.what in _YIELDING:
            return "waiting: somebody else is at it too; trying again in a moment"
        status = self._status()
        if waiting is None:
            have = f"{len(self._answered)} answers"
            silent = [name for name in status if name not in self._answered]
        else:
            silent = [name for name in waiting.nodes if name not in self._answered]
            # Who answered before may have refused.
            count = waiting.have + len(self._since.intersection(waiting.nodes))
            have = f"{count} of {waiting.need} {_WANTED.get(waiting.what, f'for the {waiting.what}')}"
        if not silent:
            return f"waiting: {have}"
        names = [
            name if status.get(name, "gone") == "alive" else f"{name} ({status.get(name, 'gone')})"
            for name in silent
        ]
        return f"waiting: {have}; no answer yet from {', '.join(names)}"

    def _status(self) -> dict[str, str]:
        """What Serf says of the nodes that vote."""
        try:
            return {node.name: node.status for node in self.members() if node.votes}
        except SerfError:
            return {}  # The operation finds out by itself, and says so.


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _width() -> int:
    try:
        # Some terminals do not know and say 0.
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80


def _write(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.encode(sys.stderr.encoding or "ascii", "backslashreplace"))
