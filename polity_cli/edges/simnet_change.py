"""Changes of the electorate as events in a `SimNet`, beside elections and each other."""

from __future__ import annotations

from polity_cli.core import change, change_state
from polity_cli.core.change_state import Change, Outcome
from polity_cli.edges import wire
from polity_cli.edges.simnet import SimNet
from polity_cli.edges.simnet_faults import Parcel
from polity_cli.edges.simnet_operation import SimProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from polity_cli.core.electorate import Electorate, Roll
    from polity_cli.core.operation import Draws


class SimChange(SimProcess):
    """One change to `target`, or without one the end of the change under way; see `change.begin`.

    `on_move` is told after each step, before what it says goes out.
    """

    def __init__(
        self,
        net: SimNet,
        electorate: Electorate,
        target: Roll | None,
        *,
        name: str,
        home: str,
        draws: Draws,
        rate: float = 1.0,
        limit_s: float | None = None,
        dies_after: int | None = None,
        on_move: Callable[[SimChange, change_state.Move], None] = lambda op, move: None,
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
        self.electorate = electorate
        self.target = target
        self.state = Change(electorate, target, b"", home, frozenset())
        self._on_move = on_move

    @property
    def outcome(self) -> Outcome | None:
        return self.state.outcome

    def begin(self, *, alive: Collection[bytes] | None = None, patient: bool = False) -> None:
        """Start it now."""
        self._start()
        begun = change.begin(
            self.electorate,
            self.target,
            node=self.home,
            alive=alive,
            now_s=self._now_s,
            draws=self._draws,
            codec=wire,
            patient=patient,
        )
        self._move(begun)

    def receive(self, parcel: Parcel) -> None:
        """An answer has come."""
        reply = wire.decode_reply(parcel.data)
        self.net.observer.heard(self, parcel.source, reply)
        self._move(change.hear(self.state, parcel.source, reply, self._now_s, self._draws, wire))

    def wake(self, alive: Collection[bytes] | None = None) -> None:
        if self.is_active:
            self._move(change.wake(self.state, self._now_s, self._draws, wire, alive))

    def give_up(self) -> None:
        if self.is_active:
            self._move(change.give_up(self.state))

    def _move(self, move: change_state.Move) -> None:
        self._on_move(self, move)
        self.state = move.change
        self._after_step(move.send, move.change.wake_at_s, is_over=move.change.outcome is not None)
