"""Who holds which role, followed: a stream of changes for sinks that must miss none of what was seen.

    events ──wake──► a quorum is asked ──news──► spool ──courier──► standard output, a command, an address

An event may be lost, doubled, old or forged. So events only say that it is worth asking, and what is told is
always a quorum's answer; as that is asked every now and then without any event as well, a lost one is a
delay. The newest tenure is all that can be asked for: of terms that followed each other quickly some are
never seen, and the terms told of a role only grow.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic

from polity_cli.core.messages import NO_POLITY, Announce
from polity_cli.core.operation import Purpose
from polity_cli.core.record import Record
from polity_cli.edges import wire
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_types import UserEvent
from polity_cli.errors import BadConfiguration, NoQuorum, NotFounded, PolityError
from polity_cli.outcomes import error_of
from polity_cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from polity_cli.edges.serf_types import Event
    from polity_cli.edges.spool import Spool
    from polity_cli.settings import Settings

DEFAULT_EVERY_S = 15.0
_LEAST_PAUSE_S = 0.2
_MOST_NAMES = 1000
_FIRST_RETRY_S = 1.0
_LONGEST_READ_S = 5.0


class Reading(Record):
    """What a quorum says of a role, in which polity."""

    polity: str
    role: str
    term: int
    holder: str | None


class Bell:
    """Where those who hear of something wake the one who asks. Thread-safe, and never waits for him."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._terms: dict[str, int] = {}
        self._all = False

    def ring(self, role: str, term: int) -> None:
        """It was heard that a role is in this term."""
        with self._changed:
            self._terms[role] = max(term, self._terms.get(role, 0))
            if len(self._terms) > _MOST_NAMES:
                # Names that nobody stood for cost nothing to invent.
                self._terms.clear()
                self._all = True
            self._changed.notify_all()

    def ring_for_all(self) -> None:
        """Something may have been missed, or it is time to stop."""
        with self._changed:
            self._all = True
            self._changed.notify_all()

    def wait(self, timeout_s: float, is_news: Callable[[str, int], bool]) -> frozenset[str] | None:
        """Roles of which there seems to be news; None if all are to be asked for, as after `timeout_s`."""
        until_s = monotonic() + timeout_s
        while True:
            with self._changed:
                if not self._terms and not self._all:
                    self._changed.wait(max(0.0, until_s - monotonic()))
                terms, self._terms = self._terms, {}
                is_all, self._all = self._all, False
            # Not under the lock: who rings may be a voter, and is not to wait for a disk.
            news = frozenset(role for role, term in terms.items() if is_news(role, term))
            if is_all or (not news and monotonic() >= until_s):
                return None
            if news:
                return news

    def hear(self, event: Event | None, namespace: str) -> None:
        """Ring for an event that announces a tenure; what makes no sense is passed over."""
        if isinstance(event, UserEvent) and event.name == namespace:
            with suppress(wire.Garbled):
                news = wire.decode_message(event.payload)
                if isinstance(news, Announce) and news.role:
                    self.ring(news.role, news.tenure.term)


class Reader:
    """Asks a quorum whenever it is rung for, every `every_s` seconds, and sooner again where that failed.

    `roles` empty: all. `ask` gives a reading of each of some roles, or of all that are known with None.
    """

    def __init__(
        self,
        spool: Spool,
        bell: Bell,
        *,
        node: str,
        roles: Collection[str],
        every_s: float,
        ask: Callable[[frozenset[str] | None], Iterable[Reading]],
        stop: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._spool = spool
        self._bell = bell
        self._node = node
        self._roles = frozenset(roles)
        self._every_s = every_s
        self._ask = ask
        self._stop_asked = stop
        self._say = say
        self._failures = 0
        self._trouble = ""
        self._given_up = 0

    def run(self) -> None:
        """Until it is told to stop; what goes wrong is said, and tried again."""
        wanted: frozenset[str] | None = None
        due_s = monotonic()
        while not self._stop_asked.is_set():
            went_well = self.look(wanted)
            if went_well and wanted is None:
                due_s = monotonic() + self._every_s
            left_s = due_s - monotonic()
            if not went_well:
                left_s = min(self._every_s, _FIRST_RETRY_S * 2 ** min(self._failures - 1, 10))
            # A flood of events must not become one of questions.
            pause_s = min(_LEAST_PAUSE_S, max(0.0, left_s))
            if self._stop_asked.wait(pause_s):
                return
            wanted = self._bell.wait(max(0.0, left_s - pause_s), self._is_news)
            if not went_well:
                wanted = None  # of which roles there was news is not known any more

    def look(self, wanted: frozenset[str] | None = None) -> bool:
        """Ask once, and note what is new; False if that failed."""
        try:
            for found in self._ask(wanted or self._roles or None):
                self._take(found)
        except PolityError as error:
            if not self._stop_asked.is_set():
                self._complain(error)
            return False
        if self._trouble == BadConfiguration.__name__:
            self._say("changes are noted again")
        elif self._trouble not in ("", NotFounded.__name__):
            self._say("the cluster answers again")
        self._failures, self._trouble = 0, ""
        return True

    def _take(self, found: Reading) -> None:
        if not found.term:
            return  # somebody stood for it in vain: no role has come of it
        if self._spool.is_another(found.polity):
            self._say(
                f"this is polity {found.polity}, it was {self._spool.polity}: its terms begin anew, "
                "and every role is told once more"
            )
        seen = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._spool.take(found.polity, found.role, found.term, found.holder, seen=seen, node=self._node)
        if self._spool.given_up != self._given_up:
            self._given_up = self._spool.given_up
            self._say(
                f"too much is pending: {self._given_up} changes with newer ones behind them are given up"
            )

    def _is_news(self, role: str, term: int) -> bool:
        return (not self._roles or role in self._roles) and term > self._spool.newest.get(role, 0)

    def _complain(self, error: PolityError) -> None:
        kind, before = type(error).__name__, self._failures
        self._failures += 1
        if kind != self._trouble or self._failures & before == 0:
            times = "" if kind != self._trouble else f" ({self._failures} times running)"
            # Asking again is what it does anyway.
            is_new = kind != self._trouble and not isinstance(error, NoQuorum)
            hint = f". {error.hint}" if error.hint and is_new else ""
            what = (
                "changes are not told"
                if isinstance(error, BadConfiguration)
                else "nobody says who holds what"
            )
            self._say(f"{what}{times}: {error}{hint}")
        self._trouble = kind


def ask_a_quorum(
    settings: Settings, wanted: frozenset[str] | None, *, should_stop: Callable[[], bool]
) -> Iterator[Reading]:
    """Who holds these roles, or with None all that are known, each decided by a quorum. Raises PolityError.

    With a session of its own: whatever became of the agent and of the electorate since the last time.
    """
    with (
        SerfClient.connect(
            settings.rpc_addr, auth_key=settings.rpc_auth, connect_timeout_s=5.0, timeout_s=10.0
        ) as serf,
        Session(
            serf, namespace=settings.namespace, state_dir=settings.state_dir, should_stop=should_stop
        ) as session,
    ):
        # A node that knows which polity it belongs to need not mind another one that comes into the cluster.
        session.conductor.passes_over_others = (
            session.ledger is not None and session.ledger.me().polity != NO_POLITY
        )
        try:
            electorate = session.electorate(timeout_s=_LONGEST_READ_S)
            roles = sorted(wanted) if wanted else session.roles(timeout_s=_LONGEST_READ_S)
            for role in roles:
                outcome = session.who(role, timeout_s=_LONGEST_READ_S)
                error = error_of((Purpose.QUERY, role), outcome, electorate)
                if error is not None or outcome.tenure is None:
                    raise error or AssertionError("an answer without a tenure")
                tenure = outcome.tenure
                yield Reading(electorate.polity.hex(), role, tenure.term, tenure.holder)
        finally:
            session.remember_later()()
