"""Running an operation: the loop that carries a pure state machine's messages to a network and back.

All waiting is here, and every wait has an end: the machine's own next step, the caller's time limit, or the
caller's wish to stop. What happens is told to a watcher as it happens, so that a person can see why.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic, time

from polity_cli.core import candidacy, founding
from polity_cli.core import messages as m
from polity_cli.core.ballot import ID_BYTES, MAX_JUMP
from polity_cli.core.record import Record
from polity_cli.edges import wire
from polity_cli.edges.network import Heard
from polity_cli.errors import (
    BadInput,
    FoundingRefused,
    NoQuorum,
    OutcomeUnknown,
    SerfError,
    TwoPolities,
    Unfit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from polity_cli.core.candidacy import Draws, Order, Outcome
    from polity_cli.core.electorate import Electorate
    from polity_cli.core.quorum import QuorumRule
    from polity_cli.edges.network import Network

    Watch = Callable[["Sent | Got | Waiting"], None]

# How often a wait looks whether the caller wants to stop.
_STOP_CHECK_S = 0.2
_ASK_AGAIN_S = 0.45


class Sent(Record):
    """A message went to all voters, `after_s` into the operation; `again` if it had been sent before."""

    message: m.Query | m.Announce
    again: bool
    after_s: float


class Got(Record):
    """A reply came; `counts` is False if it is a stranger's or of another attempt."""

    node: str
    reply: m.Reply
    counts: bool
    after_s: float


class Waiting(Record):
    """Still waiting, for these nodes; `have` of `need` votes or answers are there."""

    what: str
    have: int
    need: int
    nodes: tuple[str, ...]
    after_s: float


class SystemDraws:
    """Chance from the operating system."""

    def id(self) -> bytes:
        return os.urandom(ID_BYTES)

    def jitter(self) -> float:
        return int.from_bytes(os.urandom(4), "big") / 2**32

    def round_floor(self) -> int:
        """Milliseconds by the wall clock, within what a voter takes; a wrong one costs attempts, no more."""
        return max(0, min(int(time() * 1000), MAX_JUMP))


class Conductor:
    """Runs operations on one network. Not to be shared between threads.

    `watch` is called with what happens; `should_stop` is asked about five times a second; an operation that
    is stopped ends as one that is out of time. Any method may raise SerfError.
    """

    def __init__(
        self,
        network: Network,
        *,
        watch: Watch = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = monotonic,
        draws: Draws | None = None,
    ) -> None:
        self.network = network
        self.draws: Draws = draws or SystemDraws()
        self._watch = watch
        self._should_stop = should_stop
        self._clock = clock
        self._started = clock()

    def run(
        self, order: Order, electorate: Electorate, *, local: m.Register | None, timeout_s: float
    ) -> Outcome:
        """Run an election, a recall or a query to its outcome, and announce what was chosen.

        Raises TwoPolities if a node of another polity answers, Unfit if the electorate is newer than the one
        given; both say if the operation may take effect all the same. An agent that fails is SerfError while
        nothing can come of the operation, and OutcomeUnknown once something may.
        """
        deadline = self._begin(timeout_s)
        alive = self._alive(electorate)
        start = candidacy.begin(
            order, electorate, local=local, alive=alive, now_s=self._clock(), draws=self.draws
        )
        nothing_sent = candidacy.Candidacy(order, electorate, start.candidacy.pace, alive)
        outcome = self._carry_out(start, nothing_sent, deadline)
        if outcome.chosen is not None:
            news = m.Announce(electorate.polity, electorate.epoch, order.role, *outcome.chosen)
            # Only a courtesy: what is decided is decided, and the next to ask repeats the announcement.
            with suppress(SerfError):
                self.network.announce(news)
                self._watch(Sent(news, False, self._after()))
        return outcome

    def _carry_out(self, move: candidacy.Move, nothing_sent: candidacy.Candidacy, deadline: float) -> Outcome:
        healed: set[bytes] = set()
        before = nothing_sent
        while True:
            c = move.candidacy
            if c.outcome is None and (self._clock() >= deadline or self._should_stop()):
                # What was not sent yet shall not be: nothing can come of it then.
                c = candidacy.give_up(c if move.send is None else before).candidacy
            if c.outcome is not None:
                return c.outcome
            try:
                if move.send is not None:
                    self._ask(move.send, again=c.asks > 1)
                before = c
                now_s = self._clock()
                if now_s >= c.wake_at_s:
                    self._tell_waiting(c)
                    healed.clear()
                    move = candidacy.wake(c, now_s, self.draws, self._alive(c.electorate))
                else:
                    heard = self._listen(min(c.wake_at_s, deadline))
                    move = candidacy.Move(c) if heard is None else self._hear(c, heard, healed)
            except SerfError as error:
                ended = candidacy.give_up(c).candidacy.outcome
                if ended is None or not ended.may_take_effect:
                    raise
                raise OutcomeUnknown(
                    f"{error}, and what was asked for may have taken effect or may yet do so",
                    hint=f"{error.hint}; then ask `polity who`" if error.hint else "ask `polity who`",
                ) from error

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

    def learn_electorate(self, *, timeout_s: float) -> Electorate | None:
        """The electorate's record that the voters have entered; None if those that answer know of none.

        Raises NoQuorum if nobody answers.
        """
        deadline = self._begin(timeout_s)
        voters = {node.name for node in self.network.members() if node.votes and node.status == "alive"}
        unfounded: set[str] = set()
        unreadable: set[str] = set()

        def is_over(asks: int) -> bool:
            # Voters that Serf shows alive may only be slow; without any there is nobody to wait for.
            return asks >= 3 and (bool(unfounded) or not voters)

        for first in self._answers(m.Fetch(self.draws.id(), b"", 0), deadline, is_over):
            match first.reply:
                case m.Page(polity=m.NO_POLITY):
                    unfounded.add(first.node)
                    if unfounded >= voters:
                        break
                case m.Page(pages=pages) as page if pages and first.node not in unreadable:
                    record = self._rest_of(first.node, page, deadline, unreadable)
                    if record is not None:
                        return record
        if unreadable:
            raise NoQuorum(
                "no voter gave a record of the electorate that this node can read, "
                f"not even {', '.join(sorted(unreadable))}",
                hint="try again; if it stays so, polity here may be of an older version than theirs",
            )
        if unfounded:
            return None
        raise NoQuorum(
            "no voter of this cluster answered",
            hint="check with `polity doctor` that voters run: the hook in Serf's configuration, or an agent",
        )

    def list_roles(self, electorate: Electorate, *, timeout_s: float) -> tuple[str, ...]:
        """Every role that was ever decided, and perhaps some that were only asked for, in byte order.

        A quorum is asked: whatever was decided has left its trace at one of them. Raises NoQuorum.
        """
        deadline = self._begin(timeout_s)
        known: set[str] = set()
        after = ""
        while True:
            answers = self._role_page(electorate, after, deadline)
            known.update(role for answer in answers for role in answer.roles)
            cut = [answer.roles[-1] for answer in answers if answer.more and answer.roles]
            if not cut:
                return tuple(sorted(known, key=str.encode))
            # Names up to the earliest cut are complete for every voter of this quorum.
            after = min(cut, key=str.encode)

    def roll_call(self, *, timeout_s: float, enough: Callable[[set[str]], bool]) -> dict[str, m.Page]:
        """Who answers as a voter: node names to the first page of what each has entered."""
        deadline = self._begin(timeout_s)
        present: dict[str, m.Page] = {}
        for node, reply in self._answers(m.Fetch(self.draws.id(), b"", 0), deadline, lambda asks: asks >= 2):
            if isinstance(reply, m.Page):
                present[node] = reply
            if enough(set(present)):
                break
        return present

    def _begin(self, timeout_s: float) -> float:
        if not timeout_s > 0:
            raise BadInput(f"the time limit must be above 0 seconds, not {timeout_s:g}")
        self._started = self._clock()
        return self._started + timeout_s

    def _after(self) -> float:
        return self._clock() - self._started

    def _ask(self, message: m.Query, *, again: bool) -> None:
        self.network.ask(message, again=again)
        self._watch(Sent(message, again, self._after()))

    def _listen(self, until_s: float) -> Heard | None:
        return self.network.listen(max(0.0, min(until_s - self._clock(), _STOP_CHECK_S)))

    def _alive(self, electorate: Electorate) -> frozenset[bytes]:
        """The voters whose nodes the failure detector believes alive: a hint, never a verdict."""
        names = {node.name for node in self.network.members() if node.status == "alive"}
        return frozenset(e.voter for e in electorate.voters if e.node in names)

    def _hear(self, c: candidacy.Candidacy, heard: Heard, healed: set[bytes]) -> candidacy.Move:
        node, reply = heard
        # A voter's id that answers from another node is a copy of its disk: nobody knows whose memory it has.
        enrolled = c.electorate.node_of(reply.voter) == node
        self._watch(Got(node, reply, enrolled and reply.attempt == c.attempt, self._after()))
        if isinstance(reply, m.State):
            return candidacy.hear(c, reply, self._clock(), self.draws) if enrolled else candidacy.Move(c)
        if isinstance(reply, m.Refusal) and reply.attempt == c.attempt:
            outcome = candidacy.give_up(c).candidacy.outcome
            assert outcome is not None
            warning = "what was asked for may still take effect; " if outcome.may_take_effect else ""
            self._tell_refusal(c.electorate, node, reply, warning)
            if enrolled and self._heal(c.electorate, reply, healed) and c.phase is not candidacy.Phase.YIELD:
                self._ask(candidacy.message(c), again=True)
        return candidacy.Move(c)

    def _tell_refusal(self, electorate: Electorate, node: str, refusal: m.Refusal, warning: str = "") -> None:
        """Raise what the operator must know of; other refusals are only silence."""
        if refusal.reason == m.OTHER_POLITY:
            raise TwoPolities(
                f"two polities meet in this cluster: {node} belongs to {refusal.polity.hex()}, "
                f"this node asks in {electorate.polity.hex()}",
                hint=f"{warning}give one of them another --namespace, or take its nodes out of this cluster",
            )
        if refusal.reason == m.OLD_EPOCH:
            raise Unfit(
                f"{node} has entered electorate {refusal.epoch}, this node only knows {electorate.epoch}",
                hint=f"{warning}try again once this node has heard of it, or from another node",
            )

    def _heal(self, electorate: Electorate, refusal: m.Refusal, healed: set[bytes]) -> bool:
        """Hand our record to a voter that has not entered it, once; True if it is to be asked again."""
        if refusal.reason not in (m.UNFOUNDED, m.BEHIND) or refusal.voter in healed:
            return False
        healed.add(refusal.voter)
        data = wire.encode_record(electorate)
        pages = wire.pages(data)
        for at, page in enumerate(pages):
            offer = m.Offer(refusal.attempt, wire.digest(data), at, len(pages), page, True)
            self._ask(offer, again=False)
        return True

    def _tell_waiting(self, c: candidacy.Candidacy) -> None:
        answered = dict(c.states)
        silent = tuple(e.node for e in c.electorate.voters if e.voter not in answered)
        if c.phase is candidacy.Phase.YIELD:
            silent = ()
        self._watch(Waiting(c.phase.value, len(answered), c.electorate.current.q, silent, self._after()))

    def _answers(self, query: m.Query, deadline: float, is_over: Callable[[int], bool]) -> Iterator[Heard]:
        """Ask, ask again in silence, and give the answers, until the time is over.

        `is_over` is told how often was asked and may end it earlier, before asking once more.
        """
        asks, ask_at = 0, self._clock()
        while True:
            now_s = self._clock()
            if now_s >= deadline or self._should_stop() or (now_s >= ask_at and is_over(asks)):
                return
            if now_s >= ask_at:
                self._ask(query, again=asks > 0)
                asks, ask_at = asks + 1, now_s + _ASK_AGAIN_S
            heard = self._listen(min(ask_at, deadline))
            if heard is not None and heard.reply.attempt == query.attempt:
                self._watch(Got(heard.node, heard.reply, True, self._after()))
                yield heard

    def _rest_of(self, node: str, page: m.Page, deadline: float, unreadable: set[str]) -> Electorate | None:
        """The record whose first page this is, the others coming from whoever answers first.

        None if pages stay out or make no record; then those they came from are added to `unreadable`, so that
        the next try takes other nodes' pages.
        """
        data, sources = page.data, {node}
        for at in range(1, page.pages):
            query = m.Fetch(self.draws.id(), page.digest, at)
            for other, reply in self._answers(query, deadline, lambda asks: asks >= 3):
                if (
                    isinstance(reply, m.Page)
                    and reply.pages
                    and (reply.digest, reply.page) == (page.digest, at)
                    and other not in unreadable
                ):
                    data += reply.data
                    sources.add(other)
                    break
            else:
                return None
        try:
            if wire.digest(data) == page.digest:
                return wire.decode_record(data)
        except wire.Garbled:
            self.network.strange += 1
        unreadable |= sources
        return None

    def _role_page(self, electorate: Electorate, after: str, deadline: float) -> list[m.RoleList]:
        def is_over(asks: int) -> bool:
            return asks >= 2 and not electorate.is_quorum(self._alive(electorate))

        query = m.ListRoles(self.draws.id(), electorate.polity, electorate.epoch, after)
        answers: dict[bytes, m.RoleList] = {}
        healed: set[bytes] = set()
        for node, reply in self._answers(query, deadline, is_over):
            enrolled = electorate.node_of(reply.voter) == node
            if isinstance(reply, m.RoleList) and enrolled:
                answers[reply.voter] = reply
            elif isinstance(reply, m.Refusal):
                self._tell_refusal(electorate, node, reply)
                if enrolled and self._heal(electorate, reply, healed):
                    self._ask(query, again=True)
            if electorate.is_quorum(frozenset(answers)):
                return list(answers.values())
        silent = [e.node for e in electorate.voters if e.voter not in answers]
        raise NoQuorum(
            f"{len(answers)} of {len(electorate.voters)} voters answered, "
            f"{electorate.current.q} are needed; no answer from {', '.join(silent)}",
            hint="see `polity voters`; `polity roles --cached` shows what this node remembers",
        )
