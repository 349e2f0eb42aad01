"""Asking voters: everything that only asks, and the ground on which operations stand.

All waiting is here, and every wait has an end: the caller's time limit, or the caller's wish to stop. What
happens is told to a watcher as it happens, so that a person can see why.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic, time

from polity_cli.core import epochs, tally
from polity_cli.core import messages as m
from polity_cli.core.ballot import ID_BYTES, MAX_JUMP
from polity_cli.core.electorate import Electorate
from polity_cli.core.record import Record
from polity_cli.core.strangers import Strangers
from polity_cli.core.witness import Witness
from polity_cli.edges import wire
from polity_cli.errors import BadInput, NoQuorum, SerfError, TwoPolities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from polity_cli.core.operation import Draws
    from polity_cli.core.strangers import Sighting
    from polity_cli.core.witness import Source
    from polity_cli.edges.network import Heard, Network, Node

    Watch = Callable[["Sent | Got | Waiting"], None]

# How often a wait looks whether the caller wants to stop.
_STOP_CHECK_S = 0.2
_ASK_AGAIN_S = 0.45
# What the last wait of an operation is for.
STRANGERS = "strangers"
# How long others may answer, once it is clear that nothing comes of it, so that they can be named.
_NAMING_S = 0.3


class Sent(Record):
    """A message went to all voters, `after_s` into the operation; `again` if it had been sent before."""

    message: m.Query | m.Announce
    again: bool
    after_s: float


class Got(Record):
    """A reply came; `counts` is False if it is a stranger's, of another attempt, or of a voter set back."""

    node: str
    reply: m.Reply
    counts: bool
    after_s: float
    set_back: bool = False


class Waiting(Record):
    """Still waiting, for these nodes; `have` of `need` votes or answers are there."""

    what: str
    have: int
    need: int
    nodes: tuple[str, ...]
    after_s: float


def deadline_of(timeout_s: float) -> float:
    """The instant by the process's clock at which so many seconds are over; raises BadInput for none."""
    if not timeout_s > 0:
        raise BadInput(f"the time limit must be above 0 seconds, not {timeout_s:g}")
    return monotonic() + timeout_s


def left(deadline: float) -> float:
    """Seconds until then; never 0, as every step looks once."""
    return max(0.001, deadline - monotonic())


def two_polities(mine: bytes, found: Mapping[str, bytes], warning: str = "") -> TwoPolities:
    """The error that tells who is in which polity, as far as nodes were `found`; `mine` is asked in."""

    def of(polity: bytes) -> str:
        nodes = sorted(node for node, belongs in found.items() if belongs == polity)
        return f"{', '.join(nodes) or 'nobody that answered'} in {polity.hex()}"

    others = sorted(set(found.values()) - {mine, m.NO_POLITY})
    return TwoPolities(
        f"{'two' if len(others) == 1 else len(others) + 1} polities meet in this cluster: "
        f"{of(mine)}, where this was asked; {'; '.join(map(of, others))}",
        hint=f"{warning}part the clusters again, or give one polity another --namespace; or end one of them: "
        "`polity dissolve` on each of its nodes, then `polity voters sync` on a node of the other. After a "
        "`polity voters rescue` the rescued one is to stay",
    )


class SystemDraws:
    """Chance from the operating system."""

    def id(self) -> bytes:
        return os.urandom(ID_BYTES)

    def jitter(self) -> float:
        return int.from_bytes(os.urandom(4), "big") / 2**32

    def round_floor(self) -> int:
        """Milliseconds by the wall clock, within what a voter takes; a wrong one costs attempts, no more."""
        return max(0, min(int(time() * 1000), MAX_JUMP))


class Asker:
    """Asks on one network. Not to be shared between threads.

    `watch` is called with what happens; `should_stop` is asked about five times a second; an operation that
    is stopped ends as one that is out of time. Any method may raise SerfError. `electorate` is the newest
    record met so far; `witness` knows of serials, beginning with those `remembered` from before, and
    `strangers` of voters that are not enrolled, beginning with those `sighted` before.
    `polities` are the nodes that answered the last operation, with the polity of each; while
    `passes_over_others` is true, those of another polity are only silent.
    """

    passes_over_others = False

    def __init__(
        self,
        network: Network,
        *,
        watch: Watch = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = monotonic,
        draws: Draws | None = None,
        remembered: Mapping[Source, int] | None = None,
        sighted: Mapping[str, Sighting] | None = None,
    ) -> None:
        self.network = network
        self.witness = Witness(remembered or {})
        self.strangers = Strangers(sighted or {}, time)
        self.polities: dict[str, bytes] = {}
        self.draws: Draws = draws or SystemDraws()
        self._watch = watch
        self._should_stop = should_stop
        self._clock = clock
        self._started = clock()
        self._nodes: tuple[Node, ...] = ()
        self.electorate: Electorate | None = None

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
        self.electorate = electorate
        known: set[str] = set()
        after = ""
        while True:
            answers = self._role_page(after, deadline)
            names, cut = tally.listed(answers)
            known.update(names)
            if cut is None:
                self._meet_strangers(self.electorate, deadline)
                return tuple(sorted(known, key=str.encode))
            after = cut

    def roll_call(self, *, timeout_s: float, enough: Callable[[set[str]], bool]) -> dict[str, m.Page]:
        """Who answers as a voter: node names to the first page of what each has entered."""
        deadline = self._begin(timeout_s)
        present: dict[str, m.Page] = {}
        for node, reply in self._answers(m.Fetch(self.draws.id(), b"", 0), deadline, lambda asks: asks >= 2):
            if isinstance(reply, m.Page):
                present[node] = reply
            if enough({*present, *self.witness.set_back}):
                break
        return present

    def learn_record(self, digest: bytes, *, timeout_s: float) -> Electorate | None:
        """The record of this digest, from whoever has it; None if nobody gives it in time."""
        return self._fetch(digest, self._begin(timeout_s))

    def _fetch(self, digest: bytes, deadline: float) -> Electorate | None:
        unreadable: set[str] = set()
        for node, reply in self._answers(
            m.Fetch(self.draws.id(), digest, 0), deadline, lambda asks: asks >= 3
        ):
            if (
                isinstance(reply, m.Page)
                and reply.pages
                and reply.digest == digest
                and node not in unreadable
            ):
                record = self._rest_of(node, reply, deadline, unreadable)
                if record is not None:
                    return record
        return None

    def _begin(self, timeout_s: float) -> float:
        if not timeout_s > 0:
            raise BadInput(f"the time limit must be above 0 seconds, not {timeout_s:g}")
        self.polities = {}
        self._nodes = ()
        self._started = self._clock()
        return self._started + timeout_s

    def _after(self) -> float:
        return self._clock() - self._started

    def _ask(self, message: m.Query, *, again: bool) -> None:
        self.witness.asked(message.attempt)
        self.network.ask(message, again=again)
        self._watch(Sent(message, again, self._after()))

    def _listen(self, until_s: float) -> Heard | None:
        """The next answer; one whose ledger was set back is none to anybody."""
        heard = self.network.listen(max(0.0, min(until_s - self._clock(), _STOP_CHECK_S)))
        if heard is not None:
            self.polities[heard.node] = heard.reply.polity
        if heard is None or self.witness.hear(heard.node, heard.reply):
            return heard
        self._watch(Got(heard.node, heard.reply, False, self._after(), set_back=True))
        return None

    def _alive(self, electorate: Electorate) -> frozenset[bytes]:
        """The voters whose nodes the failure detector believes alive: a hint, never a verdict.

        Those whose answers will not count are as good as dead: nobody shall wait for them.
        """
        self._nodes = self.network.members()
        names = {node.name for node in self._nodes if node.status == "alive"}
        return frozenset(
            e.voter
            for e in electorate.voters
            if e.node in names and not self.witness.refuses(e.node, e.voter)
        )

    def _tell_other_polity(self, electorate: Electorate, heard: Heard, warning: str = "") -> None:
        """Raise what the operator must know of; other refusals are only silence."""
        refusal = heard.reply
        if (
            isinstance(refusal, m.Refusal)
            and refusal.reason == m.OTHER_POLITY
            and not self.passes_over_others
        ):
            self._name_polities(electorate, warning)

    def _meet_strangers(self, electorate: Electorate, deadline: float, warning: str = "") -> None:
        """Raise TwoPolities if a voter of another one is here, though enough of this one's have answered.

        A quorum may be faster than the first voter of the other polity. Serf shows its nodes alive with the
        voters' tag, and none of them enrolled: such nodes were asked as well and are waited for, for as long
        as `strangers.py` says. Where there are none this costs nothing.
        """
        if self.passes_over_others:
            return
        enrolled = {e.node for e in electorate.voters}
        with suppress(SerfError):
            self._nodes = self._nodes or self.network.members()
        alive = {node.name for node in self._nodes if node.votes and node.status == "alive"}
        # An enrolled one may be of another polity, too: since it was rescued, or was taken there.
        strangers = (alive - enrolled) | self.strangers.others(alive, electorate.polity).keys()
        waits_s = {
            node: self.strangers.patience_s(node, self._after()) for node in strangers - self.polities.keys()
        }
        if waits_s:
            have = len(strangers) - len(waits_s)
            self._watch(Waiting(STRANGERS, have, len(strangers), tuple(sorted(waits_s)), self._after()))
        decided_s = self._clock()
        # What is decided is told, whatever becomes of the agent now.
        with suppress(SerfError):
            while silent := waits_s.keys() - self.polities.keys():
                until_s = min(decided_s + max(waits_s[node] for node in silent), deadline)
                if self._clock() >= until_s or self._should_stop():
                    break
                heard = self._listen(until_s)
                if heard is not None:
                    self._watch(Got(heard.node, heard.reply, False, self._after()))
        waited_s = self._clock() - decided_s
        self.strangers.kept_silent(
            node for node, wait_s in waits_s.items() if node not in self.polities and waited_s >= wait_s
        )
        self.strangers.heard(self.polities, electorate.polity)
        others = self.strangers.others(strangers, electorate.polity)
        if others or set(self.polities.values()) - {electorate.polity, m.NO_POLITY}:
            self._name_polities(electorate, warning, others)

    def _name_polities(
        self, electorate: Electorate, warning: str, sighted: Mapping[str, bytes] | None = None
    ) -> None:
        until_s = self._clock() + _NAMING_S
        with suppress(SerfError):
            while self._clock() < until_s and not self._should_stop():
                self._listen(until_s)
        self.strangers.heard(self.polities, electorate.polity)
        raise two_polities(electorate.polity, {**(sighted or {}), **self.polities}, warning)

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

    def _role_page(self, after: str, deadline: float) -> list[m.RoleList]:
        """The answers of a quorum, in the newest epoch that one of them knows of."""
        electorate = self.electorate
        assert electorate is not None

        def is_over(asks: int) -> bool:
            return asks >= 2 and not electorate.is_quorum(self._alive(electorate))

        query = m.ListRoles(self.draws.id(), electorate.polity, electorate.epoch, after)
        answers: dict[bytes, m.RoleList] = {}
        heals_at_s = 0.0
        for heard in self._answers(query, deadline, is_over):
            node, reply = heard
            enrolled = electorate.node_of(reply.voter) == node
            if isinstance(reply, m.RoleList) and enrolled:
                answers[reply.voter] = reply
            elif isinstance(reply, m.Refusal):
                self._tell_other_polity(electorate, heard)
                if self._catch_up(reply, deadline):
                    return self._role_page(after, deadline)
                lacks_it = enrolled and reply.reason in (m.UNFOUNDED, m.BEHIND)
                if lacks_it and self._clock() >= heals_at_s:
                    heals_at_s = self._clock() + _ASK_AGAIN_S
                    for offer in epochs.offers(query.attempt, electorate, wire, chosen=True):
                        self._ask(offer, again=False)
                    self._ask(query, again=True)
            if electorate.is_quorum(frozenset(answers)):
                return list(answers.values())
        silent = [e.node for e in electorate.voters if e.voter not in answers]
        raise NoQuorum(
            f"{len(answers)} of {len(electorate.voters)} voters answered, "
            f"{electorate.current.q} are needed; no answer from {', '.join(silent)}",
            hint="see `polity voters`; `polity roles --cached` shows what this node remembers",
        )

    def _catch_up(self, refusal: m.Refusal, deadline: float) -> bool:
        """Learn the newer record that a refusal speaks of; True if `electorate` is a newer one now."""
        known = self.electorate
        if refusal.reason != m.OLD_EPOCH or known is None or refusal.epoch <= known.epoch:
            return False
        record = self._fetch(refusal.digest, deadline)
        if record is None or record.polity != known.polity or record.epoch <= known.epoch:
            return False
        self.electorate = record
        return True
