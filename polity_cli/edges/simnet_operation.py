"""Elections, recalls and queries as events in a `SimNet`: as many at once as you like.

A `Conductor` runs one operation and waits for it. Here the same pure machine (`core/guided.py`) is moved
by the queue: by answers that arrive, by its own alarm, by its time limit. Its process can die after any
step, and its clock may go faster or slower than everybody else's. A `SimProcess` is what any such machine
has in common; a change of the electorate is another one (`simnet_change.py`).
"""

from __future__ import annotations

from polity_cli.core import candidacy, guided
from polity_cli.core import messages as m
from polity_cli.core.guided import Guided
from polity_cli.core.operation import Candidacy, Order, Outcome, Pace
from polity_cli.edges import wire
from polity_cli.edges.simnet import SimNet
from polity_cli.edges.simnet_faults import Parcel, Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from polity_cli.core.electorate import Electorate
    from polity_cli.core.operation import Draws


class SimProcess:
    """Something of node `home` that asks. `sent` are the bytes of what it said.

    `started` and `ended` are ticks of the net: of two processes the one that ended at a lower tick than
    the other started came before it. `rate` is how fast its clock goes. It dies after `dies_after` steps, of
    which the beginning is the first, and gives up once its clock shows `limit_s` more than when it began.
    """

    def __init__(
        self,
        net: SimNet,
        *,
        name: str,
        home: str,
        draws: Draws,
        rate: float = 1.0,
        limit_s: float | None = None,
        dies_after: int | None = None,
        alive: Callable[[], Collection[bytes] | None] = lambda: None,
    ) -> None:
        self.net = net
        self.name = name
        self.home = home
        self.sent: list[bytes] = []
        self.started = 0
        self.ended: int | None = None
        self.stopped = False
        self._draws = draws
        self._rate = rate
        self._limit_s = limit_s
        self._dies_after = dies_after
        self._steps = 0
        self._alarm_s = -1.0
        self._rung_s = 0.0
        self._alive = alive

    @property
    def is_active(self) -> bool:
        return self.ended is None and not self.stopped

    def receive(self, parcel: Parcel) -> None:
        """An answer has come."""
        raise NotImplementedError

    def wake(self, alive: Collection[bytes] | None = None) -> None:
        """Its wait is over."""
        raise NotImplementedError

    def give_up(self) -> None:
        """No more time: it ends and says what it knows."""
        raise NotImplementedError

    def stop(self) -> None:
        """Its process dies; what it has sent is still under way."""
        self.stopped = True
        self.net.observer.happened(self.name, "dies")

    @property
    def _now_s(self) -> float:
        now_s = self.net.now_s * self._rate
        return now_s if now_s > self._rung_s else self._rung_s

    def _start(self) -> None:
        self.net.tick += 1
        self.started = self.net.tick
        if self._limit_s is not None:
            limit_s = self.net.now_s + self._limit_s / self._rate
            self.net.call_at(limit_s, lambda _: self.give_up(), node=self.home)

    def _ring(self, alarm_s: float) -> None:
        if alarm_s == self._alarm_s:
            # A clock that rings shows at least that time, whatever a division leaves over.
            self._alarm_s, self._rung_s = -1.0, alarm_s
            self.wake(self._alive())

    def _after_step(self, send: Iterable[m.Query], wake_at_s: float, *, is_over: bool) -> None:
        """Say what the step wants said, and set the alarm, unless it was the last one."""
        self._steps += 1
        for message in send:
            data = wire.encode(message)
            self.net.broadcast(self, Way.ASK, len(self.sent), data)
            self.sent.append(data)
        if is_over:
            self.ended = self.net.tick
        if self._steps == self._dies_after:
            self.stop()
        elif not is_over and wake_at_s != self._alarm_s:
            self._alarm_s = wake_at_s
            self.net.call_at(wake_at_s / self._rate, self._ring, wake_at_s, node=self.home)


class SimOperation(SimProcess):
    """One operation. `news` are the bytes of its announcement.

    It begins with the record `electorate`, be that outdated, and learns of newer ones. `on_move` is told
    after each step, before what it says goes out.
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
        on_move: Callable[[SimOperation, guided.Move], None] = lambda op, move: None,
        alive: Callable[[], Collection[bytes] | None] = lambda: None,
    ) -> None:
        super().__init__(
            net,
            name=name,
            home=home,
            draws=draws,
            rate=rate,
            limit_s=limit_s,
            dies_after=dies_after,
            alive=alive,
        )
        self.order = order
        self.electorate = electorate
        self.news = b""
        self.state = Candidacy(order, electorate, Pace(), frozenset())
        self._guided = Guided(self.state)
        self._on_move = on_move

    @property
    def outcome(self) -> Outcome | None:
        return self.state.outcome

    def begin(
        self,
        *,
        local: m.Register | None,
        alive: Collection[bytes] | None = None,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        """Start it now; see `candidacy.begin`."""
        self._start()
        begun = candidacy.begin(
            self.order,
            self.electorate,
            local=local,
            alive=alive,
            now_s=self._now_s,
            draws=self._draws,
            pace=pace,
        )
        self._move(guided.started(begun))

    def receive(self, parcel: Parcel) -> None:
        """An answer has come."""
        reply = wire.decode_reply(parcel.data)
        self.net.observer.heard(self, parcel.source, reply)
        self._move(guided.hear(self._guided, parcel.source, reply, self._now_s, self._draws, wire))

    def wake(self, alive: Collection[bytes] | None = None) -> None:
        if self.is_active:
            self._move(guided.wake(self._guided, self._now_s, self._draws, alive))

    def give_up(self) -> None:
        if self.is_active:
            self._move(guided.give_up(self._guided))

    def _move(self, move: guided.Move) -> None:
        self._on_move(self, move)
        self._guided = move.guided
        self.state = c = move.guided.candidacy
        outcome = c.outcome
        self._after_step(move.send, c.wake_at_s, is_over=outcome is not None)
        if outcome is not None and outcome.chosen is not None and not self.stopped:
            news = m.Announce(c.electorate.polity, c.electorate.epoch, self.order.role, *outcome.chosen)
            self.news = wire.encode(news)
            self.net.broadcast(self, Way.NEWS, len(self.sent), self.news)
