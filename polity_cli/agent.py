"""`polity agent`: the long-running voter, which hears the local agent's queries over RPC and answers them.

It keeps nothing in memory that matters: each query goes through the booth and the ledger like a hook's.
So it may run beside a hook, be killed at any instant, and outlive any number of restarts of serf. What it
missed while it was away is only silence to those who asked.

It parts from its agent with care, since an agent may panic when a client that streams events hangs up; see
`edges/serf_parting.py`.
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
from polity_cli.edges.serf_parting import Parting, prepare
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_types import QueryEvent, UserEvent
from polity_cli.errors import (
    LedgerError,
    NotFounded,
    PolityError,
    SerfProtocolError,
    SerfRequestError,
    SerfTimeout,
    SerfUnreachable,
)
from polity_cli.lookout import Bell
from polity_cli.runner import give_back
from polity_cli.session import Session, node_name
from polity_cli.upkeep import tend
from polity_cli.watch import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.edges.serf_types import Event
    from polity_cli.settings import Settings

# Silence after which the stop flag is looked at: SIGTERM is obeyed within it.
_TICK_S = 1.0

# Somewhat longer than a watcher takes to end.
_WATCH_ENDS_S = 10.0

# The hook was faster, or the query is over: nobody misses this answer.
_TOO_LATE = ("response already sent", "past the deadline", "No pending queries matching ID")


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
            if _is_worth_a_line(self.garbled):
                self._log(f"passed over a message that makes no sense ({self.garbled} so far): {error}")
        except LedgerError as error:
            self.failed += 1
            if _is_worth_a_line(self.failed):
                self._log(f"no answer given ({self.failed} so far): {error}. {error.hint}")
        except SerfTimeout as error:
            self._log(f"{error}")
        except SerfRequestError as error:
            if not any(words in str(error) for words in _TOO_LATE):
                self._log(f"serf does not take the answer: {error}")


def _is_worth_a_line(count: int) -> bool:
    """True for the 1st, 2nd, 4th, 8th, ...: a flood must not fill a log."""
    return count & (count - 1) == 0


class _Service:
    """The life of `polity agent`, from the first connection to the parting."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop_asked = threading.Event()
        self._connected = False
        self._voter: Voter | None = None
        self._ledger: Ledger | None = None
        self._greeted: SerfClient | None = None
        self._parting: Parting | None = None
        self._bell = Bell()

    def stop(self) -> None:
        self._stop_asked.set()

    def run(self) -> None:
        namespace = self._settings.namespace
        events = follow(
            lambda: prepare(SerfClient.connect(self._settings.rpc_addr, auth_key=self._settings.rpc_auth)),
            [f"query:{namespace}", f"user:{namespace}"],
            wait=lambda timeout_s: not self._connected and self._stop_asked.wait(timeout_s),
            draw=lambda: int.from_bytes(os.urandom(4), "big") / 2**32,
            on_change=self._changed,
            tick_s=_TICK_S,
        )
        try:
            for client, event in events:
                try:
                    if self._stop_asked.is_set() and self._may_hang_up(client, event):
                        break
                    if self._parting is None or not self._parting.is_question(event):
                        self._serve(client, event)
                except (SerfUnreachable, SerfTimeout, SerfProtocolError):
                    continue  # follow() finds out, says so and connects again
        finally:
            events.close()
            _notify("STOPPING=1")
            if self._ledger is not None:
                self._ledger.close()

    def tend(self) -> None:
        """Keep the electorate in line with the cluster, every now and then, until stopped.

        And give back what runs on this node have left held when they were killed.
        """
        every_s = self._settings.upkeep.tend_every_s
        failures = 0
        while every_s and not self._stop_asked.wait(
            every_s * (0.75 + 0.5 * int.from_bytes(os.urandom(2)) / 65536)
        ):
            try:
                with (
                    SerfClient.connect(self._settings.rpc_addr, auth_key=self._settings.rpc_auth) as serf,
                    Session(
                        serf,
                        namespace=self._settings.namespace,
                        state_dir=self._settings.state_dir,
                        should_stop=self._stop_asked.is_set,
                    ) as session,
                ):
                    try:
                        self._give_back(session)
                        tend(
                            session,
                            self._settings.upkeep,
                            state_dir=self._settings.state_dir,
                            wait=self._stop_asked.wait,
                            log=_say,
                        )
                    finally:
                        session.remember_later()()
                failures = 0
            except NotFounded:
                continue
            except PolityError as error:
                failures += 1
                if _is_worth_a_line(failures):
                    _say(f"the electorate was not looked after ({failures} times running): {error}")

    def watch(self) -> None:
        """Tell of changes what the table [watch] names, until stopped."""
        serve(self._settings, bell=self._bell, stop=self._stop_asked, say=_say)

    def succeed(self) -> None:
        """Stand for roles and recall them from holders that are gone, as configured, until stopped."""
        from polity_cli.succession import Heir  # few agents have any

        Heir(self._settings, wait=self._stop_asked.wait, log=_say).run()

    def _give_back(self, session: Session) -> None:
        """Nothing of the electorate's upkeep depends on it."""
        try:
            give_back(session, self._settings, session.node, _say)
        except (PolityError, OSError) as error:
            _say(f"a role that a killed run has left held is not given back yet: {error}")

    def _serve(self, client: SerfClient, event: Event | None) -> None:
        if client is not self._greeted:
            node = node_name(client)
            if self._ledger is None:
                path = ledger_path(self._settings.state_dir, self._settings.namespace, node)
                self._ledger = Ledger.open(path, node)
                assert self._ledger is not None
                _check(self._ledger)
                self._voter = Voter(self._ledger, self._settings.namespace, _say)
            _say(f"voting as {node} with {self._ledger.path}")
            _notify(f"READY=1\nSTATUS=voting as {node}")
            self._greeted = client
            self._bell.ring_for_all()
        if event is not None and self._voter is not None:
            self._voter.take(event, client.respond)
            if self._settings.watch is not None:
                self._bell.hear(event, self._settings.namespace)

    def _may_hang_up(self, client: SerfClient, event: Event | None) -> bool:
        if self._parting is None or self._parting.client is not client:
            self._parting = Parting(client, self._settings.namespace, node_name(client))
        return self._parting.is_over(event)

    def _changed(self, change: Change) -> None:
        self._connected = change.connected
        if not change.connected:
            _say(f"{change.error}; trying again in {change.retry_s:.1f} s")
            _notify(f"STATUS=serf is away: {change.error}")
        elif change.error is not None:
            _say(f"{change.error}")


def run(settings: Settings) -> None:
    """Vote until SIGTERM or SIGINT. Raises LedgerError, SerfAuthError, SerfRequestError, BadInput."""
    service = _Service(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    # Of its own: voting must not wait for anything.
    threading.Thread(target=service.tend, name="upkeep", daemon=True).start()
    watching = threading.Thread(target=service.watch, name="watch", daemon=True)
    if settings.watch is not None:
        watching.start()
    heir = threading.Thread(target=service.succeed, name="succession", daemon=True)
    if settings.roles:
        heir.start()
    service.run()
    if settings.roles:
        heir.join(1.0)  # a command that it may have started is ended
    if watching.is_alive():
        watching.join(_WATCH_ENDS_S)
    _say("stopped")


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
