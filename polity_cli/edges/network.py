"""The port through which operations reach the voters, and its one real form: Serf queries.

A network is lossy and promises nothing. `ask` sends a message to all voters, `listen` gives back whatever
answers come, in any order, late, doubled or not at all; asking again is asking the same message once more.
How a message travels is the network's own business: one that sent it by two roads would feed the answers
of both to `listen`, and the first to arrive would count.

It does not listen for announcements, although that would cut some waits short: an agent that hands an event
to its handlers one after the other panics ("send on closed channel") if an RPC client that streams events
disconnects meanwhile, and with a hook among the handlers that takes tens of milliseconds each time. Nobody
who comes and goes may stream events (seen with Serf 0.9.4; `ipc_event_stream.go` is unchanged in 0.10).
"""

from __future__ import annotations

import fcntl
import os
from time import monotonic, sleep

from polity_cli.core.messages import Stand
from polity_cli.core.record import Record
from polity_cli.edges import wire
from polity_cli.edges.serf_types import Done, Response, StreamClosed, StreamOverflow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Protocol

    from polity_cli.core.messages import Announce, Query, Reply
    from polity_cli.edges.serf_rpc import SerfClient
    from polity_cli.edges.serf_stream import Stream
    from polity_cli.edges.serf_types import QueryRecord

    class Network(Protocol):
        """What operations need of the world; `SerfNetwork` and the simulator's are two."""

        strange: int

        def ask(self, message: Query, *, again: bool) -> None:
            """Send a message to all voters. `again` says that it was sent before."""

        def listen(self, timeout_s: float) -> Heard | None:
            """The next reply, waiting up to timeout_s; None if there is none."""

        def announce(self, news: Announce) -> None:
            """Tell everybody of a chosen tenure."""

        def members(self) -> tuple[Node, ...]:
            """The nodes that the failure detector knows; a hint."""


class Heard(Record):
    """A reply, and the node that the network says it came from."""

    node: str
    reply: Reply


class Node(Record):
    """`status` in Serf's words: alive, leaving, left, failed. `votes`: it carries the voters' tag."""

    name: str
    status: str
    votes: bool


VOTER_TAG = "voter"

# Serf forgets a query after this; answers are worth waiting for about a second.
QUERY_LIFETIME_S = 5.0

# Answers of a repeated question travel through this many other nodes as well: with 20 % of packets lost,
# 59 of 60 queries then reach a majority of five voters instead of 55.
RELAY_FACTOR = 2

# With more other nodes than these no single gossip makes an election.
_FEW = 8

_LOCK_PATIENCE_S = 0.05


class SerfNetwork:
    """Voters reached by queries of the local agent. Not to be shared between threads.

    `reminders` gives what each question shall remind voters of; see `core/witness.py`.
    """

    def __init__(self, serf: SerfClient, namespace: str, reminders: Callable[[], list[bytes]] = list) -> None:
        self._serf = serf
        self._namespace = namespace
        self.reminders = reminders
        self._queries: list[Stream[QueryRecord]] = []
        self._lock = _AgentLock(serf.addr)
        self._nodes: tuple[Node, ...] = ()
        self._own_vote: tuple[Stream[QueryRecord], str, bytes] | None = None
        self.strange = 0

    def __enter__(self) -> SerfNetwork:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. Queries under way go on in Serf until their time is over, which does no harm."""
        self._lock.close()
        for query in self._queries:
            query.stop()

    def ask(self, message: Query, *, again: bool) -> None:
        """Send a message as a new query; Serf itself never repairs a lost one.

        A query reaches its own node at once and leaves it at the next gossip tick. So of candidates that
        stand at the same time each would have its own node's vote, and none enough of the others'. Therefore
        a stand goes to the other nodes first, and to the candidate's own as soon as one of them has answered:
        whose tick comes first then has all that its first gossip reaches, and its own.
        """
        reminders = self.reminders()
        self._own_vote = None
        if isinstance(message, Stand) and not again and message.tenure.holder is not None:
            candidate = message.tenure.holder
            others = [node for node in self._nodes if node.name != candidate]
            names = max(sum(len(node.name.encode()) + 3 for node in others), len(candidate.encode()) + 3)
            room = wire.QUERY_BYTES - names
            somebody = any(node.votes and node.status == "alive" for node in others)
            if somebody and len(others) <= _FEW and len(wire.encode(message)) <= room:
                data = wire.encode_reminding(message, reminders, room)
                self._own_vote = self._query(data, nodes=[node.name for node in others]), candidate, data
                return
        data = wire.encode_reminding(message, reminders)
        self._query(data, relay_factor=RELAY_FACTOR if again else 0)

    def _query(
        self, data: bytes, *, nodes: Collection[str] = (), relay_factor: int = 0
    ) -> Stream[QueryRecord]:
        with self._lock:
            query = self._serf.query(
                self._namespace,
                data,
                filter_nodes=nodes,
                relay_factor=relay_factor,
                timeout_s=QUERY_LIFETIME_S,
            )
        self._queries.append(query)
        return query

    def _ask_own_voter(self, answered: Stream[QueryRecord]) -> None:
        """Ask for the candidate's own vote, once, if this is its stand that was answered."""
        if self._own_vote is not None and self._own_vote[0] is answered:
            _, candidate, data = self._own_vote
            self._own_vote = None
            self._query(data, nodes=[candidate])

    def listen(self, timeout_s: float) -> Heard | None:
        """The next answer to any query asked here; what cannot be read is counted and passed over."""
        deadline = monotonic() + timeout_s
        while True:
            ready = self._serf.wait_any(self._queries, max(0.0, deadline - monotonic()))
            if ready is None:
                return None
            try:
                record = ready.next(0)
            except StreamOverflow:
                continue
            except StreamClosed:
                record = Done()
            if isinstance(record, Response):
                self._ask_own_voter(ready)
                try:
                    return Heard(record.node, wire.decode_reply(record.payload))
                except wire.Garbled:
                    self.strange += 1
            elif isinstance(record, Done):
                self._queries = [query for query in self._queries if query is not ready]

    def announce(self, news: Announce) -> None:
        """Send a user event, which Serf gossips to every node."""
        self._serf.event(self._namespace, wire.encode(news))

    @property
    def last_members(self) -> tuple[Node, ...]:
        """The nodes when they were last asked for."""
        return self._nodes

    def members(self) -> tuple[Node, ...]:
        """All nodes that the local agent knows."""
        self._nodes = tuple(
            Node(member.name, member.status, member.tags.get(self._namespace) == VOTER_TAG)
            for member in self._serf.members()
        )
        return self._nodes


class _AgentLock:
    """One query at a time is given to an agent, by all processes of this machine.

    Two that arrive at the same moment may get one Lamport time, and all answers to one of them are lost.
    Only a courtesy: without it, or after a short wait, the query goes out all the same and asking again
    mends what is lost.
    """

    def __init__(self, addr: str) -> None:
        name = "".join(c if c.isalnum() else "-" for c in addr)
        path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"polity-query-{name}.lock")
        self._fd: int | None = None
        for flags in (os.O_RDONLY, os.O_RDONLY | os.O_CREAT):
            try:
                # Anybody may have put something else there: a pipe must not hold us up.
                self._fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
                break
            except OSError:
                continue

    def __enter__(self) -> None:
        if self._fd is None:
            return
        deadline = monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if monotonic() >= deadline:
                    return
                sleep(0.001)

    def __exit__(self, *error: object) -> None:
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
