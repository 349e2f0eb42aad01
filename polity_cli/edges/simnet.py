"""A network and a clock in memory, both drawn from one seed: for polity's own tests, and for yours.

Nothing here waits. Time is a number that jumps to whatever is due next; one seed gives one course of events,
byte for byte. Messages travel as wire bytes to voters that answer by the function given, in practice
`booth.answer`, on any ledger, so what ships is what is shaken:

    net = SimNet(booth.answer, seed=7, faults=[Drop(0.1), Duplicate(0.1)])
    net.add("n1", ledger)                       a node with a voter; without a ledger, one that only asks
    port = net.port("n1")                       the same port as `SerfNetwork`, for a `Conductor`
    Conductor(port, clock=net.clock, draws=Seeded(7)).run(...)

Whoever listens at a port moves the time on for everybody. Many operations at once are `SimOperation`s
(`simnet_operation.py`), which wait in the queue like everything else.

What may go wrong with a parcel is a chain of small filters (`simnet_faults.py`): each is given a parcel
and gives back those that go on, none, changed or several. What may go wrong with a node are verbs:

    crash, restart     a voter's process ends; another one starts on its ledger, or on a new one
    arm                its process will end while it handles its next message, at one of two points
    pause, resume      everything that concerns the node waits, and then happens at once
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from polity_cli.core.ballot import ID_BYTES
from polity_cli.edges import wire
from polity_cli.edges.network import Heard, Node
from polity_cli.edges.simnet_crash import Crash, CrashingLedger, Point
from polity_cli.edges.simnet_faults import Caller, Fault, Only, Parcel, Way
from polity_cli.errors import LedgerError

if TYPE_CHECKING:
    from polity_cli.booth import VoterLedger
    from polity_cli.core.messages import Announce, Query, Reply

    Answer = Callable[[VoterLedger, bytes], bytes | None]

DETECTION_S = 5.0
"""How long a voter's node is down before the failure detector says so; Serf takes 5 to 6.5 s."""


class Seeded:
    """The `Draws` of operations, from a seed; `clock` is the time of day in seconds, as the node has it."""

    def __init__(self, seed: int, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._chance = Random(seed)
        self._clock = clock

    def id(self) -> bytes:
        return self._chance.randbytes(ID_BYTES)

    def jitter(self) -> float:
        return self._chance.random()

    def round_floor(self) -> int:
        return int(self._clock())


class Observer:
    """Is told what happens; does nothing. Derive from it to write transcripts, to count, or to judge."""

    def arrived(self, parcel: Parcel, reply: bytes | None) -> None:
        """A voter has handled a parcel; `reply` is what it says, None if nothing or if it died."""

    def happened(self, node: str, what: str) -> None:
        """Something befell a node."""

    def heard(self, caller: Caller, node: str, reply: Reply) -> None:
        """An operation is given a reply, which may be of another attempt, or a stranger's."""


class _Place:
    """A node: up or down, paused or not, with what waits for it meanwhile."""

    def __init__(self) -> None:
        self.ledger: VoterLedger | None = None
        self.voter = b""
        self.is_up = False
        self.down_since_s = 0.0
        self.is_paused = False
        self.point: Point | None = None
        self.waiting: list[tuple[Callable[[Any], None], Any]] = []

    def open(self, ledger: VoterLedger) -> None:
        self.ledger, self.voter, self.is_up, self.point = ledger, ledger.me().voter, True, None


class SimNet:
    """All nodes, everything under way, and the time. `tick` counts what has happened so far."""

    def __init__(
        self,
        answer: Answer,
        *,
        seed: int = 0,
        faults: Iterable[Fault] = (),
        latency_s: tuple[float, float] = (0.01, 0.03),
        observer: Observer | None = None,
    ) -> None:
        self.now_s = 0.0
        self.tick = 0
        self.faults = tuple(faults)
        self.latency_s = latency_s
        self.chance = Random(seed)
        self.observer = observer or Observer()
        self._answer = answer
        self._places: dict[str, _Place] = {}
        self._queue: list[tuple[float, int, str, Callable[[Any], None], Any]] = []
        self._queued = 0
        self._posted = 0

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The chain of filters in front of everything that is sent; may be replaced at any time."""
        return self._faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._faults = tuple(faults)
        # A fault for one way only is not asked about the others: most of the time goes into such questions.
        self._chains = {
            way: [
                fault.fault if isinstance(fault, Only) else fault
                for fault in self._faults
                if not isinstance(fault, Only) or fault.way is way
            ]
            for way in Way
        }

    # Nodes.

    def add(self, node: str, ledger: VoterLedger | None = None) -> None:
        """A node, with a voter if it has a ledger."""
        self._places[node] = place = _Place()
        if ledger is not None:
            place.open(ledger)

    def ledger(self, node: str) -> VoterLedger:
        """The ledger of a node's voter, also while that is down."""
        ledger = self._places[node].ledger
        assert ledger is not None, f"{node} has no voter"
        return ledger

    def is_up(self, node: str) -> bool:
        return self._places[node].is_up

    def crash(self, node: str, how: str = "crashes") -> None:
        """End a voter's process; what arrives until it is started again is lost."""
        place = self._places[node]
        place.is_up, place.point, place.down_since_s = False, None, self.now_s
        self.observer.happened(node, how)

    def restart(self, node: str, ledger: VoterLedger | None = None) -> None:
        """Start a voter again, on the ledger it had, or on this one."""
        place = self._places[node]
        before = place.voter
        place.open(ledger or self.ledger(node))
        self.observer.happened(node, "starts again" if place.voter == before else "starts without its ledger")

    def arm(self, node: str, point: Point | None) -> None:
        """Let the voter's process end while it handles the next message; or not after all, if None."""
        self._places[node].point = point

    def pause(self, node: str) -> None:
        """Stop a node with all that runs on it; what is meant for it waits."""
        self._places[node].is_paused = True
        self.observer.happened(node, "is paused")

    def resume(self, node: str) -> None:
        """Let a paused node go on with everything that has waited for it, in order."""
        place = self._places[node]
        if place.is_paused:
            place.is_paused = False
            self.observer.happened(node, "goes on")
            waiting, place.waiting = place.waiting, []
            for act, of in waiting:
                self.call_at(self.now_s, act, of, node=node)

    # Time.

    def clock(self) -> float:
        """Seconds since the beginning; the `clock` of a Conductor."""
        return self.now_s

    def call_at(self, at_s: float, act: Callable[[Any], None], of: Any = None, *, node: str = "") -> None:
        """Do something at a time; if it concerns a node, not while that is paused."""
        self._queued += 1
        heapq.heappush(self._queue, (at_s, self._queued, node, act, of))

    def step(self, until_s: float) -> bool:
        """Let the next thing happen. If none is due until then, the time becomes that, and this is False."""
        if not self._queue or self._queue[0][0] > until_s:
            self.now_s = max(self.now_s, until_s)
            return False
        at_s, _, node, act, of = heapq.heappop(self._queue)
        if at_s > self.now_s:
            self.now_s = at_s
        self.tick += 1
        place = self._places.get(node)
        if place is not None and place.is_paused:
            place.waiting.append((act, of))
        else:
            act(of)
        return True

    def run(self, until_s: float, *, done: Callable[[], bool] | None = None) -> None:
        """Let everything happen until then; or until `done` says so, which is asked before each step."""
        if done is None:
            while self.step(until_s):
                pass
        else:
            while not done() and self.step(until_s):
                pass

    def clear(self) -> None:
        """Lose everything under way, and forget all that was to happen."""
        self._queue.clear()
        for place in self._places.values():
            place.waiting.clear()

    # Messages.

    def broadcast(self, caller: Caller, way: Way, number: int, data: bytes) -> None:
        """Send a caller's message to every node that has a voter."""
        for node, place in self._places.items():
            if place.ledger is not None:
                self._post(way, caller, number, caller.home, node, data)

    def _post(self, way: Way, caller: Caller, number: int, source: str, target: str, data: bytes) -> None:
        least_s, most_s = self.latency_s
        due_s = self.now_s + least_s + (most_s - least_s) * self.chance.random()
        self._posted += 1
        parcel = Parcel(self._posted, way, caller, number, source, target, data, self.now_s, due_s)
        self._pass(parcel, self._chains[way], 0)

    def _pass(self, parcel: Parcel, chain: list[Fault], at: int) -> None:
        """Send a parcel through the faults from the one at `at`, and put what is left of it in the queue."""
        while at < len(chain):
            passed = chain[at](parcel, self.chance)
            at += 1
            if len(passed) != 1:
                for each in passed:
                    self._pass(each, chain, at)
                return
            parcel = passed[0]
        self._queued += 1
        heapq.heappush(self._queue, (parcel.due_s, self._queued, parcel.target, self.deliver, parcel))

    def deliver(self, parcel: Parcel) -> None:
        """Bring a parcel to where it goes, now; an answer that is made goes on its way."""
        if parcel.way is Way.ANSWER:
            if parcel.caller.is_active:
                parcel.caller.receive(parcel)
            return
        place = self._places[parcel.target]
        if not place.is_up or place.ledger is None:
            return
        point = place.point
        ledger = CrashingLedger(place.ledger) if point is Point.BEFORE_SAVE else place.ledger
        try:
            reply = self._answer(ledger, parcel.data)
        except (Crash, LedgerError, wire.Garbled):
            reply = None
        if point is not None:
            self.crash(parcel.target, f"dies {point.value}")
            reply = None
        self.observer.arrived(parcel, reply)
        if reply is not None:
            self._post(Way.ANSWER, parcel.caller, parcel.number, parcel.target, parcel.caller.home, reply)

    # The failure detector, and the port.

    def members(self) -> tuple[Node, ...]:
        """What the failure detector of every node says: late, as always."""
        return tuple(
            Node(node, "failed" if self._is_missed(place) else "alive", place.ledger is not None)
            for node, place in self._places.items()
        )

    def _is_missed(self, place: _Place) -> bool:
        is_down = place.ledger is not None and not place.is_up
        return is_down and self.now_s >= place.down_since_s + DETECTION_S

    def port(self, home: str) -> SimPort:
        """The network as operations on that node know it."""
        return SimPort(self, home)


class SimPort:
    """The port of one operation at a time; implements `Network`. Who listens moves the time on."""

    is_active = True

    def __init__(self, net: SimNet, home: str) -> None:
        self.name = f"port of {home}"
        self.home = home
        self.strange = 0
        self._net = net
        self._asked = 0
        self._inbox: list[Parcel] = []

    def receive(self, parcel: Parcel) -> None:
        self._inbox.append(parcel)

    def ask(self, message: Query, *, again: bool) -> None:
        self._net.broadcast(self, Way.ASK, self._asked, wire.encode(message))
        self._asked += 1

    def listen(self, timeout_s: float) -> Heard | None:
        deadline = self._net.now_s + timeout_s
        while True:
            self._net.run(deadline, done=lambda: bool(self._inbox))
            if not self._inbox:
                return None
            parcel = self._inbox.pop(0)
            try:
                return Heard(parcel.source, wire.decode_reply(parcel.data))
            except wire.Garbled:
                self.strange += 1

    def announce(self, news: Announce) -> None:
        self._net.broadcast(self, Way.NEWS, self._asked, wire.encode(news))
        self._asked += 1

    def members(self) -> tuple[Node, ...]:
        return self._net.members()
