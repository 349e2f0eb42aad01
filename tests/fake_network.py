"""A network in memory with a clock of its own: the shipped voters behind it, their faults in one's hands.

Time passes only in `listen`, so nothing here ever waits. Questions and answers travel as wire bytes; each
may be lost, doubled or late by the chances given, all drawn from one seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable

from polity_cli import booth
from polity_cli.core import messages as m
from polity_cli.core.ballot import ID_BYTES
from polity_cli.core.electorate import Electorate, Enrolled, founding_record
from polity_cli.core.quorum import QuorumRule, SimpleMajority
from polity_cli.core.voter import Self
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.network import Heard, Node
from polity_cli.errors import LedgerError

POLITY = b"polity-1"
ROUND_TRIP_S = 0.02


class Clock:
    """Seconds since the beginning; moved by whoever waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class SeededDraws:
    """Chance that repeats."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def id(self) -> bytes:
        return self._random.randbytes(ID_BYTES)

    def jitter(self) -> float:
        return self._random.random()

    def round_floor(self) -> int:
        return 0


class FakeNetwork:
    """Implements `Network` over one booth per node.

    `down` nodes hear nothing; `status` is what the failure detector says of a node (alive unless told
    otherwise). `loss`, `doubling` and `lateness` are chances from 0 to 1 for each message; a late one takes
    up to `late_by_s`. `tamper` may replace the answers of a node, or swallow them by giving none; it sees
    the bytes and gives (node, bytes) pairs. `sent` and `news` are what went out.
    """

    def __init__(self, nodes: Iterable[str], *, seed: int = 1, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.voters: dict[str, MemoryLedger] = {
            name: MemoryLedger(voter_id(at)) for at, name in enumerate(nodes, 1)
        }
        self.down: set[str] = set()
        self.status: dict[str, str] = {}
        self.untagged: set[str] = set()
        self.loss = 0.0
        self.doubling = 0.0
        self.lateness = 0.0
        self.late_by_s = 3.0
        self.tamper: Callable[[str, bytes], Iterable[tuple[str, bytes]]] = lambda node, data: [(node, data)]
        self.on_ask: Callable[[m.Query], None] = lambda message: None
        self.sent: list[m.Query] = []
        self.news: list[m.Announce] = []
        self.strange = 0
        self._random = random.Random(seed)
        self._answers: list[tuple[float, int, str, bytes]] = []
        self._number = 0

    def ask(self, message: m.Query, *, again: bool) -> None:
        self.sent.append(message)
        self.on_ask(message)
        data = wire.encode(message)
        for node in self.voters:
            for _ in range(self._copies()):
                self._deliver(node, data)

    def listen(self, timeout_s: float) -> Heard | None:
        until_s = self.clock.now_s + timeout_s
        while self._answers and self._answers[0][0] <= until_s:
            at_s, _, node, data = heapq.heappop(self._answers)
            self.clock.now_s = max(self.clock.now_s, at_s)
            try:
                return Heard(node, wire.decode_reply(data))
            except wire.Garbled:
                self.strange += 1
        self.clock.now_s = until_s
        return None

    def announce(self, news: m.Announce) -> None:
        self.news.append(news)
        data = wire.encode(news)
        for node, ledger in self.voters.items():
            if node not in self.down:
                booth.answer(ledger, data)

    def members(self) -> tuple[Node, ...]:
        return tuple(
            Node(name, self.status.get(name, "alive"), name not in self.untagged) for name in self.voters
        )

    def send_answer(self, node: str, reply: m.Reply | bytes, *, after_s: float = ROUND_TRIP_S) -> None:
        """Put an answer under way that seems to come from `node`."""
        data = reply if isinstance(reply, bytes) else wire.encode(reply)
        self._number += 1
        heapq.heappush(self._answers, (self.clock.now_s + after_s, self._number, node, data))

    def kill(self, *nodes: str) -> None:
        """End nodes, and let the failure detector know."""
        self.down.update(nodes)
        self.status.update(dict.fromkeys(nodes, "failed"))

    def enter(self, record: Electorate, *nodes: str) -> None:
        """Let voters (all by default) have entered a record."""
        data = wire.encode_record(record)
        for node in nodes or self.voters:
            for at, page in enumerate(pages := wire.pages(data)):
                booth.handle(
                    self.voters[node],
                    m.Offer(b"founding", wire.digest(data), at, len(pages), page, True),
                )
            assert self.voters[node].me().polity == record.polity

    def _copies(self) -> int:
        if self._random.random() < self.loss:
            return 0
        return 2 if self._random.random() < self.doubling else 1

    def _deliver(self, node: str, data: bytes) -> None:
        if node in self.down:
            return
        try:
            reply = booth.answer(self.voters[node], data)
        except (wire.Garbled, LedgerError):
            return
        if reply is None:
            return
        for source, said in self.tamper(node, reply):
            for _ in range(self._copies()):
                late = self._random.random() < self.lateness
                delay_s = self.late_by_s * self._random.random() if late else ROUND_TRIP_S
                self.send_answer(source, said, after_s=delay_s)


def voter_id(number: int) -> bytes:
    """The voter id of the node of that number, from 1."""
    return number.to_bytes(ID_BYTES, "big")


def node_names(size: int) -> list[str]:
    return [f"n{number}" for number in range(1, size + 1)]


def record_of(
    network: FakeNetwork, nodes: Iterable[str] = (), polity: bytes = POLITY, rule: QuorumRule = SimpleMajority
) -> Electorate:
    """The first record of a polity of these nodes, or of all."""
    names = list(nodes) or list(network.voters)
    return founding_record(polity, [Enrolled(network.voters[n].me().voter, n) for n in names], rule)


def founded(size: int, *, seed: int = 1) -> tuple[FakeNetwork, Electorate]:
    """A network of `size` nodes, n1 and so on, that have entered one record."""
    network = FakeNetwork(node_names(size), seed=seed)
    record = record_of(network)
    network.enter(record)
    return network, record


def same_disk(network: FakeNetwork, original: str, copy: str) -> None:
    """Give a node a ledger with the voter id of another, and what that one has entered."""
    me = network.voters[original].me()
    ledger = MemoryLedger(me.voter)
    record = network.voters[original].record(me.digest)
    network.voters[copy] = ledger
    if record is not None:
        network.enter(wire.decode_record(record), copy)
    assert ledger.me() == Self(*me)
