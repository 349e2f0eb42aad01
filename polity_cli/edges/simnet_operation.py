"""Elections, recalls and queries as events in a `SimNet`: as many at once as you like.

A `Conductor` runs one operation and waits for it. Here the same pure machine (`core/candidacy.py`) is moved
by the queue: by answers that arrive, by its own alarm, by its time limit. Its process can die after any
step, and its clock may go faster or slower than everybody else's.
"""

from __future__ import annotations

from polity_cli.core import candidacy
from polity_cli.core import messages as m
from polity_cli.core.candidacy import Candidacy, Move, Order, Outcome, Pace
from polity_cli.edges import wire
from polity_cli.edges.simnet import SimNet
from polity_cli.edges.simnet_faults import Parcel, Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from polity_cli.core.candidacy import Draws
    from polity_cli.core.electorate import Electorate


class SimOperation:
    """One operation of node `home`. `sent` and `news` are the bytes of what it said.

    `started` and `ended` are ticks of the net: of two operations the one that ended at a lower tick than
    the other started came before it. `rate` is how fast its clock goes. It dies after `dies_after` steps, of
    which the beginning is the first, and gives up once its clock shows `limit_s` more than when it began.
    `on_move` is told after each step, before what it says goes out.
    """

    def __init__(
        self,
        net: SimNet,
        order: Order,
        electorate: Electorate,
        *,
        name: str,
        home: str,
        draws: Draws,
        rate: float = 1.0,
        limit_s: float | None = None,
        dies_after: int | None = None,
        on_move: Callable[[SimOperation, Move], None] = lambda op, move: None,
        alive: Callable[[], Collection[bytes] | None] = lambda: None,
    ) -> None:
        self.net = net
        self.order = order
        self.electorate = electorate
        self.name = name
        self.home = home
        self.sent: list[bytes] = []
        self.news = b""
        self.started = 0
        self.ended: int | None = None
        self.stopped = False
        self.state = Candidacy(order, electorate, Pace(), frozenset())
        self._draws = draws
        self._rate = rate
        self._limit_s = limit_s
        self._dies_after = dies_after
        self._steps = 0
        self._alarm_s = -1.0
        self._on_move = on_move
        self._alive = alive

    @property
    def outcome(self) -> Outcome | None:
        return self.state.outcome

    @property
    def is_active(self) -> bool:
        return self.ended is None and not self.stopped

    def begin(
        self,
        *,
        local: m.Register | None,
        alive: Collection[bytes] | None = None,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        """Start it now; see `candidacy.begin`."""
        self.net.tick += 1
        self.started = self.net.tick
        begun = candidacy.begin(
            self.order,
            self.electorate,
            local=local,
            alive=alive,
            now_s=self._now_s,
            draws=self._draws,
            pace=pace,
        )
        if self._limit_s is not None:
            limit_s = self.net.now_s + self._limit_s / self._rate
            self.net.call_at(limit_s, lambda _: self.give_up(), node=self.home)
        self._move(begun)

    def receive(self, parcel: Parcel) -> None:
        """An answer has come. Only a voter that answers from its own node is heard."""
        reply = wire.decode_reply(parcel.data)
        self.net.observer.heard(self, parcel.source, reply)
        if isinstance(reply, m.State) and self.electorate.node_of(reply.voter) == parcel.source:
            self._move(candidacy.hear(self.state, reply, self._now_s, self._draws))

    def wake(self, alive: Collection[bytes] | None = None) -> None:
        """Its wait is over."""
        if self.is_active:
            self._move(candidacy.wake(self.state, self._now_s, self._draws, alive))

    def give_up(self) -> None:
        """No more time: it ends and says what it knows."""
        if self.is_active:
            self._move(candidacy.give_up(self.state))

    def stop(self) -> None:
        """Its process dies; what it has sent is still under way."""
        self.stopped = True
        self.net.observer.happened(self.name, "dies")

    @property
    def _now_s(self) -> float:
        return self.net.now_s * self._rate

    def _ring(self, alarm_s: float) -> None:
        if alarm_s == self._alarm_s:
            self._alarm_s = -1.0
            self.wake(self._alive())

    def _move(self, move: Move) -> None:
        self._steps += 1
        self._on_move(self, move)
        self.state = move.candidacy
        if move.send is not None:
            self._say(Way.ASK, wire.encode(move.send))
        if move.candidacy.outcome is not None:
            self._end(move.candidacy.outcome)
        elif self._steps == self._dies_after:
            self.stop()
        elif move.candidacy.wake_at_s != self._alarm_s:
            self._alarm_s = move.candidacy.wake_at_s
            self.net.call_at(self._alarm_s / self._rate, self._ring, self._alarm_s, node=self.home)

    def _end(self, outcome: Outcome) -> None:
        self.ended = self.net.tick
        if self._steps == self._dies_after:
            self.stop()
        elif outcome.chosen is not None:
            news = m.Announce(self.electorate.polity, self.electorate.epoch, self.order.role, *outcome.chosen)
            self.news = wire.encode(news)
            self.net.broadcast(self, Way.NEWS, len(self.sent), self.news)

    def _say(self, way: Way, data: bytes) -> None:
        self.net.broadcast(self, way, len(self.sent), data)
        self.sent.append(data)
