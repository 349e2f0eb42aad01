"""The library's face: a `Polity` stands for roles, recalls and asks, and votes while it is open.

It is heir to the Go package of 2014: `Polity(serf, events)` was Create, `Polity.connect` CreateWithAgent;
what were result channels are futures that can be aborted.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import TYPE_CHECKING

from polity_cli import settings as settings_room
from polity_cli.agent import Voter
from polity_cli.core.operation import Purpose
from polity_cli.core.witness import way_out
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.serf_follow import Change, follow
from polity_cli.edges.serf_parting import PATIENCE_S, Parting, prepare
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_stream import Stream
from polity_cli.edges.serf_types import StreamClosed, StreamOverflow
from polity_cli.errors import (
    ElectionAborted,
    FoundingRefused,
    NoQuorum,
    OutcomeUnknown,
    PolityError,
    SerfProtocolError,
    SerfTimeout,
    SerfUnreachable,
)
from polity_cli.outcomes import error_of
from polity_cli.session import DEFAULT_TIMEOUT_S, Session, node_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import TracebackType

    from polity_cli.core.operation import Outcome
    from polity_cli.core.tenure import Tenure
    from polity_cli.edges.serf_types import Event

log = logging.getLogger("polity")

_TICK_S = 0.25
_ABORT_S = 2.0


class Election(Future["Tenure"]):
    """An election or a recall under way. `result()` gives the tenure decided, or raises why there is none.

    It raises LostElection, RoleUnfilled, GuardFailed, NoQuorum (nothing can take effect later),
    OutcomeUnknown (it may), ElectionAborted, SerfError or Unfit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._abort = threading.Event()
        self.set_running_or_notify_cancel()

    def abort(self) -> None:
        """Give the operation up: unless it is decided already, `result()` raises ElectionAborted.

        That error's `may_take_effect` says whether it may be decided all the same.
        """
        self._abort.set()

    @property
    def aborted(self) -> bool:
        """True once `abort` was called, whether or not it came in time."""
        return self._abort.is_set()


class Polity:
    """One node's membership of a polity.

    `serf` is a connected client; `events` what its `stream` gives: queries and user events of the namespace
    are answered, on a thread of the polity's own, with the ledger in `state_dir`. Without events the node
    does not vote here (a hook or `polity agent` may do so). `quorum_func` maps the number of voters to the
    votes wanted by this node's elections; it may only ask for more than the electorate's rule.
    """

    def __init__(
        self,
        serf: SerfClient,
        events: Iterable[Event] | None = None,
        *,
        namespace: str = settings_room.DEFAULT_NAMESPACE,
        state_dir: str | None = None,
        quorum_func: Callable[[int], int] | None = None,
    ) -> None:
        self.serf = serf
        self.log = log
        self.quorum_func = quorum_func
        self._namespace = settings_room.check_namespace(namespace)
        self._state_dir = state_dir or settings_room.load_for_voter()[0]
        self._closed = threading.Event()
        self._running: set[Election] = set()
        self._owns_client = False
        self._reconnect: Callable[[], SerfClient] | None = None
        self._voter: threading.Thread | None = None
        self._connected = False
        if events is not None:
            self._start_voting(self._pairs(serf, events), node_name(serf))

    @classmethod
    def connect(
        cls,
        rpc_addr: str | None = None,
        *,
        rpc_auth_file: str | None = None,
        namespace: str | None = None,
        state_dir: str | None = None,
        quorum_func: Callable[[int], int] | None = None,
        vote: bool = True,
    ) -> Polity:
        """Connect to the local agent and register for its events, through restarts of the agent.

        What is not given comes from the environment and the configuration file, as for the commands. With
        `vote=False` the node does not vote through this object.
        """
        chosen = settings_room.load(
            rpc_addr=rpc_addr, rpc_auth_file=rpc_auth_file, namespace=namespace, state_dir=state_dir
        )

        def dial() -> SerfClient:
            return SerfClient.connect(chosen.rpc_addr, auth_key=chosen.rpc_auth)

        serf = dial()
        polity = cls(serf, namespace=chosen.namespace, state_dir=chosen.state_dir, quorum_func=quorum_func)
        polity._owns_client = True
        polity._reconnect = dial
        if vote:
            pairs = follow(
                lambda: prepare(dial()),
                [f"query:{chosen.namespace}", f"user:{chosen.namespace}"],
                # While it is connected the voter parts from the agent before it goes.
                wait=lambda timeout_s: not polity._connected and polity._closed.wait(timeout_s),
                draw=lambda: int.from_bytes(os.urandom(4), "big") / 2**32,
                on_change=polity._tell_change,
            )
            polity._start_voting(pairs, node_name(serf))
        return polity

    def __enter__(self) -> Polity:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Abort what is under way and stop voting. A client that was passed in stays open.

        Takes a moment, and some seconds where the agent is busy: it is not to be hurt by our going.
        """
        self._closed.set()
        aborted = list(self._running)
        for election in aborted:
            election.abort()
        wait_for_futures(aborted, timeout=_ABORT_S)  # they still need the client to find out how they stand
        if self._owns_client:
            self.serf.close()
        if self._voter is not None:
            self._voter.join(timeout=PATIENCE_S + 2.0)

    def run_election(
        self, role: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, wait: bool = False, slot: str = ""
    ) -> Election:
        """Stand for `role` with this node as candidate. Holding it already is success, in the same term.

        `wait` keeps asking until the time limit even while too few voters are alive. For a `slot`, 1 to 32
        characters, the election is won only if that comes after every slot the role was filled for (digits
        count as numbers), else SlotTaken. Where this node holds the role already, see the tenure's `slot`.
        """

        def work(session: Session) -> Outcome:
            return session.elect(
                role, timeout_s=timeout_s, patient=wait, quorum_func=self.quorum_func, slot=slot
            )

        return self._start(Purpose.ELECT, role, work)

    def run_recall_election(
        self,
        role: str,
        *,
        holder: str | None = None,
        term: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        wait: bool = False,
    ) -> Election:
        """Empty `role`, only if `holder` holds it and in `term`, where given; RoleUnfilled if vacant."""

        def work(session: Session) -> Outcome:
            return session.recall(role, holder=holder, term=term, timeout_s=timeout_s, patient=wait)

        return self._start(Purpose.RECALL, role, work)

    def query_role(self, role: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> str | None:
        """The name of the node that holds `role`, decided by a quorum; None where it is vacant."""
        return self.tenure(role, timeout_s=timeout_s).holder

    def tenure(self, role: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Tenure:
        """The tenure of `role`, decided by a quorum: holder and term, the fencing token."""
        with self._session() as session:
            outcome = session.who(role, timeout_s=timeout_s)
            error = error_of((Purpose.QUERY, role), outcome, session.electorate())
            if error is not None:
                raise error
            assert outcome.tenure is not None
            later = self._later(session)
            threading.Thread(target=later, name="polity witness", daemon=True).start()
            return outcome.tenure

    def _session(self, should_stop: Callable[[], bool] = lambda: False) -> Session:
        if self.serf.closed and self._reconnect is not None and not self._closed.is_set():
            self.serf = self._reconnect()
        return Session(
            self.serf, namespace=self._namespace, state_dir=self._state_dir, should_stop=should_stop
        )

    def _start(self, purpose: Purpose, role: str, work: Callable[[Session], Outcome]) -> Election:
        election = Election()
        self._running.add(election)

        def run() -> None:
            later = None
            try:
                with self._session(lambda: election.aborted) as session:
                    try:
                        outcome = work(session)
                    finally:
                        later = self._later(session)
                    error = error_of((purpose, role), outcome, session.electorate())
                if error is not None:
                    raise error
                assert outcome.tenure is not None
                election.set_result(outcome.tenure)
            except BaseException as problem:  # noqa: BLE001 - it belongs to whoever asks for the result
                election.set_exception(_as_aborted(problem) if election.aborted else problem)
            finally:
                self._running.discard(election)
                if later is not None:
                    later()

        threading.Thread(target=run, name=f"polity {purpose.value} {role}", daemon=True).start()
        return election

    def _later(self, session: Session) -> Callable[[], None]:
        """Say what is amiss with voters; returns what to do once the outcome is told."""
        if session.set_back:
            self.log.warning("%s", way_out(session.set_back))
        return session.remember_later()

    def _pairs(
        self, serf: SerfClient, events: Iterable[Event]
    ) -> Generator[tuple[SerfClient, Event | None], None, None]:
        """What was passed in, as `follow` gives it: a stream in its silences too, so that closing is seen."""
        if not isinstance(events, Stream):
            yield from ((serf, event) for event in events)
            return
        while True:
            try:
                yield serf, events.next(_TICK_S)
            except StreamOverflow as gap:
                self.log.warning("%s", gap)
            except StreamClosed:
                return

    def _start_voting(self, pairs: Iterable[tuple[SerfClient, Event | None]], node: str) -> None:
        path = ledger_path(self._state_dir, self._namespace, node)
        # Opened here once so that what is wrong with it is raised to the caller, not on the thread.
        probe = Ledger.open(path, node)
        assert probe is not None
        probe.close()

        def vote() -> None:
            ledger = Ledger.open(path, node)
            assert ledger is not None
            voter = Voter(ledger, self._namespace, self.log.warning)
            parting: Parting | None = None
            try:
                for client, event in pairs:
                    try:
                        if self._closed.is_set():
                            if not self._connected:
                                return  # the events are somebody else's, and so is the connection
                            if parting is None or parting.client is not client:
                                parting = Parting(client, self._namespace, node)
                            if parting.is_over(event):
                                client.close()
                                return
                        if event is not None and not (parting and parting.is_question(event)):
                            voter.take(event, client.respond)
                    except (SerfUnreachable, SerfTimeout, SerfProtocolError) as error:
                        self.log.warning("%s", error)
            except PolityError as error:
                if not self._closed.is_set():
                    self.log.error("%s has stopped voting: %s. %s", node, error, error.hint)
            finally:
                ledger.close()

        self._voter = threading.Thread(target=vote, name="polity voter", daemon=True)
        self._voter.start()

    def _tell_change(self, change: Change) -> None:
        self._connected = change.connected
        if change.error is not None:
            self.log.warning("%s", change.error)


def _as_aborted(problem: BaseException) -> BaseException:
    """What an aborted operation raises: an answer stays one, what ran out of time is ElectionAborted."""
    if not isinstance(problem, NoQuorum | OutcomeUnknown | FoundingRefused):
        return problem
    may = isinstance(problem, OutcomeUnknown)
    return ElectionAborted(f"aborted; {problem}", may_take_effect=may, hint=problem.hint)
