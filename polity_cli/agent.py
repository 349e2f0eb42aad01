"""`polity agent`: the long-running voter, which hears the local agent's queries over RPC and answers them.

It keeps nothing in memory that matters: each query goes through the booth and the ledger like a hook's.
So it may run beside a hook, be killed at any instant, and outlive any number of restarts of serf. What it
missed while it was away is only silence to those who asked.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from polity_cli.booth import answer
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.serf_follow import Change, follow
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_types import QueryEvent, UserEvent
from polity_cli.errors import LedgerError, SerfRequestError, SerfUnreachable
from polity_cli.session import node_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.edges.serf_types import Event
    from polity_cli.settings import Settings

# Silence after which the stop flag is looked at: SIGTERM is obeyed within it.
_TICK_S = 1.0


class Voter:
    """Answers events by one ledger. `answered`, `garbled` and `failed` count what became of them."""

    def __init__(self, ledger: Ledger, namespace: str, log: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._namespace = namespace
        self._log = log
        self.answered = 0
        self.garbled = 0
        self.failed = 0

    def take(self, event: Event, respond: Callable[[int, bytes], None]) -> None:
        """Handle one event; what is not ours or makes no sense is passed over, never answered.

        Raises SerfUnreachable if the connection is gone, for whoever reconnects.
        """
        if not isinstance(event, QueryEvent | UserEvent) or event.name != self._namespace:
            return
        try:
            reply = answer(self._ledger, event.payload)
            if reply is not None and isinstance(event, QueryEvent):
                respond(event.id, reply)
                self.answered += 1
        except wire.Garbled as error:
            self.garbled += 1
            if self.garbled & (self.garbled - 1) == 0:  # the 1st, 2nd, 4th, ...: a flood must not fill a log
                self._log(f"passed over a message that makes no sense ({self.garbled} so far): {error}")
        except LedgerError as error:
            self.failed += 1
            self._log(f"no answer given: {error}. {error.hint}")
        except SerfRequestError as error:
            # The hook was faster, or the query is over: both mean that nobody misses this answer.
            if "already sent" not in str(error) and "past the deadline" not in str(error):
                self._log(f"serf does not take the answer: {error}")


def run(settings: Settings) -> int:
    """Vote until SIGTERM or SIGINT; returns the exit code. Raises Unfit, SerfAuthError, BadInput."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    voter: Voter | None = None
    opened: Ledger | None = None

    def changed(change: Change) -> None:
        if not change.connected:
            _say(f"{change.error}; trying again in {change.retry_s:.1f} s")
            _notify(f"STATUS=serf is away: {change.error}")
        elif change.error is not None:
            _say(f"{change.error}")

    def connect() -> SerfClient:
        return SerfClient.connect(settings.rpc_addr, auth_key=settings.rpc_auth)

    events = follow(
        connect,
        [f"query:{settings.namespace}", f"user:{settings.namespace}"],
        wait=stop.wait,
        draw=lambda: int.from_bytes(os.urandom(4), "big") / 2**32,
        on_change=changed,
        tick_s=_TICK_S,
    )
    named: SerfClient | None = None
    try:
        for client, event in events:
            try:
                if client is not named:
                    node = node_name(client)
                    if opened is None:
                        opened = Ledger.open(ledger_path(settings.state_dir, settings.namespace, node), node)
                        assert opened is not None
                        _check(opened)
                        voter = Voter(opened, settings.namespace, _say)
                        _say(f"voting as {node} with {opened.path}")
                    named = client
                    _notify(f"READY=1\nSTATUS=voting as {node}")
                if event is not None and voter is not None:
                    voter.take(event, client.respond)
            except SerfUnreachable:
                continue  # follow() finds out, says so and connects again
    finally:
        _notify("STOPPING=1")
        if opened is not None:
            opened.close()
    _say("stopped")
    return 0


def _check(ledger: Ledger) -> None:
    found = ledger.check()
    if found:
        raise LedgerError(
            f"the ledger {ledger.path} is damaged: {found[0]}",
            hint="this node does not vote. Move the file away (keep it): the node becomes a new voter",
        )


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} polity agent: {text}", file=sys.stderr, flush=True)


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); does nothing where it did not start us."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    import socket

    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        _say(f"systemd cannot be told: {error}")
