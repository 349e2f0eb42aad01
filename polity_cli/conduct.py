"""Running an operation: the loop that carries a pure state machine's messages to a network and back."""

from __future__ import annotations

from contextlib import suppress

from polity_cli.asking import Asker, Got, Sent, Waiting
from polity_cli.core import candidacy, change, change_state, founding, guided, operation
from polity_cli.core import messages as m
from polity_cli.edges import wire
from polity_cli.errors import FoundingRefused, OutcomeUnknown, SerfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from polity_cli.core.change_state import Change
    from polity_cli.core.change_state import Outcome as ChangeOutcome
    from polity_cli.core.electorate import Electorate, Roll
    from polity_cli.core.operation import Candidacy, Order, Outcome
    from polity_cli.core.quorum import QuorumRule
    from polity_cli.edges.network import Heard


_WARNING = "what was asked for may still take effect; "


class Conductor(Asker):
    """Runs operations on one network."""

    def run(
        self,
        order: Order,
        electorate: Electorate,
        *,
        local: m.Register | None,
        timeout_s: float,
        at_least_of: Callable[[Electorate], int] | None = None,
    ) -> Outcome:
        """Run an election, a recall or a query to its outcome, and announce what was chosen.

        Where the electorate is a newer one it goes on in that, and asks `at_least_of` how many votes it wants
        there. Raises TwoPolities if a voter of another polity answers, which says what was decided or may
        still take effect all the same. An agent that fails is SerfError while nothing can come of the
        operation, and OutcomeUnknown once something may.
        """
        deadline = self._begin(timeout_s)
        alive = self._alive(electorate)
        start = candidacy.begin(
            order, electorate, local=local, alive=alive, now_s=self._clock(), draws=self.draws
        )
        nothing_sent = operation.Candidacy(order, electorate, start.candidacy.pace, alive)
        c = self._carry_out(guided.started(start), guided.Guided(nothing_sent), deadline, at_least_of)
        assert c.outcome is not None
        self.electorate = c.electorate
        if c.outcome.chosen is not None:
            news = m.Announce(c.electorate.polity, c.electorate.epoch, order.role, *c.outcome.chosen)
            # Only a courtesy: what is decided is decided, and the next to ask repeats the announcement.
            with suppress(SerfError):
                self.network.announce(news)
                self._watch(Sent(news, False, self._after()))
        self._meet_strangers(c.electorate, deadline, _all_the_same(order.role, c.outcome))
        return c.outcome

    def _carry_out(
        self,
        move: guided.Move,
        nothing_sent: guided.Guided,
        deadline: float,
        at_least_of: Callable[[Electorate], int] | None,
    ) -> Candidacy:
        before = nothing_sent
        while True:
            g = move.guided
            if g.outcome is None and (self._clock() >= deadline or self._should_stop()):
                # What was not sent yet shall not be: nothing can come of it then.
                g = guided.give_up(before if move.send else g).guided
            c = g.candidacy
            if c.outcome is not None:
                return c
            try:
                for message in move.send:
                    self._ask(message, again=move.again)
                before = g
                now_s = self._clock()
                if now_s >= c.wake_at_s:
                    self._tell_waiting(c)
                    move = guided.wake(g, now_s, self.draws, self._alive(c.electorate))
                else:
                    heard = self._listen(min(c.wake_at_s, deadline))
                    move = guided.Move(g) if heard is None else self._hear(g, heard)
                    newer = move.guided.candidacy
                    if at_least_of is not None and newer.electorate != c.electorate:
                        order = newer.order._replace(at_least=at_least_of(newer.electorate))
                        newer = newer._replace(order=order)
                        move = move._replace(guided=move.guided._replace(candidacy=newer))
            except SerfError as error:
                ended = candidacy.give_up(c).candidacy.outcome
                if ended is None or not ended.may_take_effect:
                    raise
                raise _in_doubt(error, "ask `polity who`") from error

    def change(
        self,
        electorate: Electorate,
        target: Roll | None,
        *,
        node: str,
        timeout_s: float,
        patient: bool = False,
    ) -> ChangeOutcome:
        """Change the electorate to the voters and the rule of `target`, or finish the change under way.

        Raises TwoPolities if a voter of another polity answers.
        """
        deadline = self._begin(timeout_s)
        move = change.begin(
            electorate,
            target,
            node=node,
            alive=self._alive(electorate),
            now_s=self._clock(),
            draws=self.draws,
            codec=wire,
            patient=patient,
        )
        before = move.change
        while True:
            c = move.change
            if c.outcome is None and (self._clock() >= deadline or self._should_stop()):
                c = change.give_up(before if move.send else c).change
            if c.outcome is not None:
                self.electorate = c.outcome.electorate
                self._meet_strangers(self.electorate, deadline, _what_changed(c.outcome))
                return c.outcome
            ended = change.give_up(c).change.outcome
            in_doubt = ended is not None and ended.may_take_effect
            try:
                for message in move.send:
                    self._ask(message, again=move.again)
                before = c
                now_s = self._clock()
                if now_s >= c.wake_at_s:
                    self._tell_change(c)
                    move = change.wake(c, now_s, self.draws, wire, self._alive(c.electorate))
                    continue
                heard = self._listen(min(c.wake_at_s, deadline))
            except SerfError as error:
                if not in_doubt:
                    raise
                raise _in_doubt(error, "see `polity voters`") from error
            move = change_state.Move(c)
            if heard is not None:
                counts = c.electorate.node_of(heard.reply.voter) == heard.node
                self._watch(Got(heard.node, heard.reply, counts, self._after()))
                self._tell_other_polity(electorate, heard, _WARNING if in_doubt else "")
                move = change.hear(c, heard.node, heard.reply, self._clock(), self.draws, wire)

    def found(
        self, nodes: Iterable[str], polity: bytes, rule: QuorumRule, *, timeout_s: float
    ) -> founding.Outcome:
        """Found a polity whose voters live on `nodes`. Raises BadInput for a rule unsafe for so many."""
        deadline = self._begin(timeout_s)
        move = founding.begin(nodes, polity, rule, now_s=self._clock(), draws=self.draws)
        while True:
            f = move.founding
            for message in move.send:
                self._ask(message, again=f.asks > 1)
            if f.outcome is not None:
                return f.outcome
            now_s = self._clock()
            if now_s >= deadline or self._should_stop():
                move = founding.give_up(f)
            elif now_s >= f.wake_at_s:
                have = len(f.nodes) - len(f.waiting_for)
                self._watch(Waiting(f.phase.value, have, len(f.nodes), f.waiting_for, self._after()))
                move = founding.wake(f, now_s, self.draws)
            else:
                heard = self._listen(min(f.wake_at_s, deadline))
                move = founding.Move(f)
                if heard is not None:
                    counts = heard.node in f.nodes and heard.reply.attempt == f.attempt
                    self._watch(Got(heard.node, heard.reply, counts, self._after()))
                    try:
                        move = founding.hear(f, heard.node, heard.reply, self._clock(), self.draws, wire)
                    except ValueError as error:
                        raise FoundingRefused(
                            f"the record of an earlier founding cannot be read: {error}",
                            hint="polity on this node may be of an older version than where that was begun",
                        ) from error

    def _hear(self, g: guided.Guided, heard: Heard) -> guided.Move:
        node, reply = heard
        c = g.candidacy
        learns = g.learning is not None and reply.attempt == g.learning.attempt
        mine = c.electorate.node_of(reply.voter) == node and reply.attempt == c.attempt
        self._watch(Got(node, reply, mine or learns, self._after()))
        if reply.attempt == c.attempt:
            outcome = candidacy.give_up(c).candidacy.outcome
            may_take_effect = outcome is not None and outcome.may_take_effect
            self._tell_other_polity(c.electorate, heard, _WARNING if may_take_effect else "")
        return guided.hear(g, node, reply, self._clock(), self.draws, wire)

    def _tell_waiting(self, c: operation.Candidacy) -> None:
        answered = dict(c.states)
        silent = tuple(e.node for e in c.electorate.voters if e.voter not in answered)
        if c.phase is operation.Phase.YIELD:
            silent = ()
        self._watch(Waiting(c.phase.value, len(answered), c.electorate.current.q, silent, self._after()))

    def _tell_change(self, c: Change) -> None:
        silent = tuple(e.node for e in c.electorate.voters if e.voter not in c.answered)
        if c.phase is change_state.Phase.YIELD:
            silent = ()
        need = max(roll.q for roll in c.electorate.rolls)
        self._watch(Waiting(c.phase.value, len(c.answered), need, silent, self._after()))


def _all_the_same(role: str, outcome: Outcome) -> str:
    """What came of an operation that two polities overshadow."""
    tenure = outcome.tenure
    if outcome.may_take_effect or tenure is None:
        return _WARNING if outcome.may_take_effect else ""
    what = f"{role} is vacant" if tenure.holder is None else f"{tenure.holder} holds {role}"
    return f"decided where this was asked, all the same: {what} (term {tenure.term}); "


def _what_changed(outcome: ChangeOutcome) -> str:
    """What came of a change that two polities overshadow."""
    if outcome.verdict is change_state.Verdict.CHANGED:
        return f"changed where this was asked, all the same: electorate {outcome.electorate.epoch}; "
    return _WARNING if outcome.may_take_effect else ""


def _in_doubt(error: SerfError, look: str) -> OutcomeUnknown:
    """The agent has failed, and something is under way."""
    return OutcomeUnknown(
        f"{error}, and what was asked for may have taken effect or may yet do so",
        hint=f"{error.hint}; then {look}" if error.hint else look,
    )
