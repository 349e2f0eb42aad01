"""`polity watch`, and the same in `polity agent`: all that takes part in it, put together, begun and ended.

Of what a watcher hears it needs no more than a hint, so it may go without events; then a change is seen with
the next read. Where it does stream them it parts from its agent with care: see `edges/serf_parting.py`.
"""

from __future__ import annotations

import os
import threading
from time import monotonic

from polity_cli.courier import FIRST_RETRY_S, LONGEST_RETRY_S, Courier
from polity_cli.edges.serf_follow import Change, follow
from polity_cli.edges.serf_parting import Parting, prepare
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.sinks import CommandSink, Gone, LineSink
from polity_cli.edges.spool import Spool
from polity_cli.errors import PolityError, SerfProtocolError, SerfTimeout, SerfUnreachable
from polity_cli.lookout import Bell, Reader, ask_a_quorum
from polity_cli.session import node_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from polity_cli.edges.sinks import Sink
    from polity_cli.lookout import Reading
    from polity_cli.settings import Settings
    from polity_cli.watch_settings import WatchSettings

_TICK_S = 0.5
_LOOK_S = 1.0
_BEGIN_AGAIN_S = 10.0
_LAST_WORDS_S = 8.0
"""How long what is under way has to end: a command that is ended gets five seconds."""


class Watch:
    """Sinks for the changes that a watcher sees, each served in a thread of its own. `close` it at the end.

    `state` is the spool's file; without it nothing is remembered. `bell` is for whoever hears of something.
    Raises Busy, BadInput and BadConfiguration.
    """

    def __init__(
        self,
        plan: WatchSettings,
        *,
        node: str,
        ask: Callable[[frozenset[str] | None], Iterable[Reading]],
        say: Callable[[str], None],
        state: str | None,
        since: Mapping[str, int] | None = None,
        lines: LineSink | None = None,
        bell: Bell | None = None,
        first_retry_s: float = FIRST_RETRY_S,
        longest_retry_s: float = LONGEST_RETRY_S,
    ) -> None:
        self.stopping = threading.Event()
        self.bell = bell or Bell()
        self._lines = lines
        sinks = _sinks(plan, state, lines, self.stopping, say)
        self.spool = Spool(state, [sink.name for sink in sinks], since)
        self.couriers = [
            Courier(
                sink,
                self.spool,
                stop=self.stopping,
                say=say,
                first_retry_s=first_retry_s,
                longest_retry_s=longest_retry_s,
            )
            for sink in sinks
        ]
        reader = Reader(
            self.spool,
            self.bell,
            node=node,
            roles=plan.roles,
            every_s=plan.every_s,
            ask=ask,
            stop=self.stopping,
            say=say,
        )
        self._reader = threading.Thread(target=reader.run, name="lookout", daemon=True)

    def start(self) -> None:
        for thread in (*self.couriers, self._reader):
            thread.start()

    @property
    def failure(self) -> Exception | None:
        """What ended it, if nothing goes on any more: the only sink is gone, or a bug."""
        if not self._reader.is_alive() and not self.stopping.is_set():
            return RuntimeError("the thread that asks has ended")
        failures = [courier.failure for courier in self.couriers]
        bug = next((error for error in failures if error is not None and not isinstance(error, Gone)), None)
        if bug is not None or all(failures):
            return bug or failures[0]
        if self._lines is not None and len(self.couriers) == 1 and self._lines.is_gone():
            return Gone("standard output was closed")
        return None

    def close(self, within_s: float = _LAST_WORDS_S) -> None:
        """End all threads, and wait for them so long; what is not delivered then is repeated next time."""
        self.stopping.set()
        self.bell.ring_for_all()
        for courier in self.couriers:
            courier.nudge()
        until_s = monotonic() + within_s
        for thread in (*self.couriers, self._reader):
            if thread.is_alive():
                thread.join(max(0.0, until_s - monotonic()))
        self.spool.close()


def asking(
    settings: Settings, should_stop: Callable[[], bool]
) -> Callable[[frozenset[str] | None], Iterable[Reading]]:
    """How a watcher asks the cluster of these settings."""
    return lambda wanted: ask_a_quorum(settings, wanted, should_stop=should_stop)


def serve(settings: Settings, *, bell: Bell, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Do what the table [watch] says until told to stop, whatever fails meanwhile: a thread of an agent."""
    plan = settings.watch
    assert plan is not None
    told = ""
    while not stop.is_set():
        try:
            with SerfClient.connect(settings.rpc_addr, auth_key=settings.rpc_auth) as serf:
                node = node_name(serf)
            watch = Watch(
                plan,
                node=node,
                ask=asking(settings, stop.is_set),
                say=say,
                state=os.path.join(settings.state_dir, f"{settings.namespace}@{node}.watch"),
                bell=bell,
            )
        except PolityError as error:
            if str(error) != told:
                say(f"changes are not told to anybody: {error}. {error.hint}")
            told = str(error)
        else:
            watch.start()
            try:
                while watch.failure is None and not stop.wait(_LOOK_S):
                    continue
            finally:
                failure = watch.failure
                watch.close()
            if failure is not None and not stop.is_set():
                say(f"what tells of changes has ended, and is begun anew: {failure}")
        stop.wait(_BEGIN_AGAIN_S)


def hear(
    settings: Settings, node: str, bell: Bell, *, stop: threading.Event, say: Callable[[str], None]
) -> None:
    """Ring the bell for the agent's events until told to stop, and part from the agent then."""
    connected = False
    parting: Parting | None = None

    def changed(change: Change) -> None:
        nonlocal connected
        connected = change.connected
        if connected:
            bell.ring_for_all()  # what happened meanwhile was not heard
        else:
            say(f"no events: {change.error}; trying again in {change.retry_s:.1f} s")

    events = follow(
        lambda: prepare(SerfClient.connect(settings.rpc_addr, auth_key=settings.rpc_auth)),
        # The queries are for the parting alone.
        [f"query:{settings.namespace}", f"user:{settings.namespace}"],
        wait=lambda timeout_s: not connected and stop.wait(timeout_s),
        draw=lambda: int.from_bytes(os.urandom(4), "big") / 2**32,
        on_change=changed,
        tick_s=_TICK_S,
    )
    try:
        for client, event in events:
            try:
                if not stop.is_set():
                    bell.hear(event, settings.namespace)
                    continue
                if parting is None or parting.client is not client:
                    if not _has_scripts(client):
                        break
                    parting = Parting(client, settings.namespace, node)
                if parting.is_over(event):
                    break
            except (SerfUnreachable, SerfTimeout, SerfProtocolError):
                continue  # follow() finds out, says so and connects again
    except PolityError as error:
        say(f"no events any more, and a change is seen when it is asked for: {error}")
    finally:
        events.close()


def _has_scripts(client: SerfClient) -> bool:
    """Whether the agent starts scripts, without which it does not mind who hangs up.

    Else a `polity agent` on this node would be taken for one, and the parting would take long.
    """
    return bool(client.stats().get("event_handlers"))


def _sinks(
    plan: WatchSettings,
    state: str | None,
    lines: LineSink | None,
    stop: threading.Event,
    say: Callable[[str], None],
) -> list[Sink]:
    sinks: list[Sink] = [] if lines is None else [lines]
    if plan.exec is not None:
        sinks.append(
            CommandSink(
                plan.exec,
                timeout_s=plan.exec_timeout_s,
                lock_path=None if state is None else f"{os.path.realpath(state)}.running",
                stop=stop,
                say=say,
            )
        )
    if plan.webhook is not None and plan.secret_file is not None:
        from polity_cli.edges.webhook import WebhookSink

        sinks.append(WebhookSink(plan.webhook, plan.secret_file, timeout_s=plan.webhook_timeout_s, stop=stop))
    return sinks
