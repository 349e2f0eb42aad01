"""An operation that finds its way between epochs: a candidacy, and what refusals make it do.

A candidacy knows one electorate. Here it is guided: voters that are behind are handed its record, once per
wait, and asked again; a voter that is ahead makes it fetch the newer record and go on in that epoch. What is
a person's business, such as a second polity, is left to whoever drives this.
"""

from __future__ import annotations

from polity_cli.core import candidacy, epochs, operation
from polity_cli.core import messages as m
from polity_cli.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from polity_cli.core.epochs import Codec, Learning
    from polity_cli.core.operation import Candidacy, Draws, Outcome


FETCHES = 4
"""How often a page of a newer record is asked for before the operation goes on without it."""


class Guided(Record):
    """`has_healed`: our record was handed out during this wait; `learning` is the newer one being fetched."""

    candidacy: Candidacy
    has_healed: bool = False
    learning: Learning | None = None
    fetches: int = 0

    @property
    def outcome(self) -> Outcome | None:
        return self.candidacy.outcome

    @property
    def wake_at_s(self) -> float:
        return self.candidacy.wake_at_s


class Move(Record):
    """`again` says that what is sent was sent before."""

    guided: Guided
    send: tuple[m.Query, ...] = ()
    again: bool = False


def started(move: operation.Move) -> Move:
    """Guide a candidacy from its first move on."""
    return _after(Guided(move.candidacy), move)


def hear(g: Guided, node: str, reply: m.Reply, now_s: float, draws: Draws, codec: Codec) -> Move:
    """Take the answer of a node. Only a voter that answers from its own node is heard: else it is a copy."""
    c = g.candidacy
    if c.outcome is not None:
        return Move(g)
    match reply:
        case m.State() if c.electorate.node_of(reply.voter) == node:
            return _after(g, candidacy.hear(c, reply, now_s, draws))
        case m.Refusal(reason=m.OLD_EPOCH) if reply.polity == c.electorate.polity:
            return _learn(g, reply, draws)
        case m.Refusal(reason=m.BEHIND | m.UNFOUNDED) if c.electorate.node_of(reply.voter) == node:
            return _heal(g, reply, codec)
        case m.Page() if g.learning is not None:
            return _take_page(g, g.learning, reply, now_s, draws, codec)
    return Move(g)


def wake(g: Guided, now_s: float, draws: Draws, alive: Collection[bytes] | None = None) -> Move:
    """The candidacy's wait is over, or that for a page of a newer record, which is asked for again.

    Meanwhile the candidacy waits on: who is missing in its old epoch may be no voter any more.
    """
    g = g._replace(has_healed=False)
    if g.learning is not None and g.fetches < FETCHES:
        waiting = g.candidacy._replace(wake_at_s=now_s + g.candidacy.pace.ask_again_s)
        g = g._replace(candidacy=waiting, fetches=g.fetches + 1)
        return Move(g, (g.learning.message,) if g.learning is not None else (), True)
    g = g._replace(learning=None, fetches=0)
    return _after(g, candidacy.wake(g.candidacy, now_s, draws, alive))


def give_up(g: Guided) -> Move:
    """No more time: what is known now is the outcome."""
    return _after(g, candidacy.give_up(g.candidacy))


def _after(g: Guided, move: operation.Move) -> Move:
    send = () if move.send is None else (move.send,)
    return Move(Guided(move.candidacy, g.has_healed, g.learning), send, move.candidacy.asks > 1)


def _heal(g: Guided, refusal: m.Refusal, codec: Codec) -> Move:
    c = g.candidacy
    if g.has_healed or refusal.attempt != c.attempt or c.phase is operation.Phase.YIELD:
        return Move(g)
    offers = epochs.offers(refusal.attempt, c.electorate, codec, chosen=True)
    return Move(g._replace(has_healed=True), (*offers, candidacy.message(c)), True)


def _learn(g: Guided, refusal: m.Refusal, draws: Draws) -> Move:
    c = g.candidacy
    if refusal.epoch <= c.electorate.epoch or refusal.attempt != c.attempt:
        return Move(g)
    if g.learning is not None and g.learning.digest == refusal.digest:
        return Move(g)
    learning = epochs.Learning(draws.id(), refusal.digest)
    return Move(g._replace(learning=learning), (learning.message,))


def _take_page(g: Guided, learning: Learning, page: m.Page, now_s: float, draws: Draws, codec: Codec) -> Move:
    c = g.candidacy
    try:
        learned = learning.take(page, codec)
    except ValueError:
        return Move(
            g._replace(learning=None)
        )  # of a newer version perhaps; the next refusal has it fetched anew
    if learned is None:
        return Move(g)
    if isinstance(learned, epochs.Learning):
        return Move(g._replace(learning=learned, fetches=0), (learned.message,))
    g = g._replace(learning=None, fetches=0)
    if learned.polity != c.electorate.polity or learned.epoch <= c.electorate.epoch:
        return Move(g)
    return _after(g._replace(has_healed=False), candidacy.enter_epoch(c, learned, now_s, draws))
