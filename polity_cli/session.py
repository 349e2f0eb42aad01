"""One user's access to a polity through the local Serf agent: every operation, each with its whole story.

A session finds out what an operation needs (the node's name, the electorate, what this node's own ledger
remembers), runs it, and turns outcomes into errors that an operator can act on. It waits where it is
called; `Polity` puts it behind futures, the commands behind exit codes.
"""

from __future__ import annotations

import os
from contextlib import suppress

from polity_cli.asking import deadline_of, left, two_polities
from polity_cli.booth import handle
from polity_cli.conduct import Conductor
from polity_cli.core import epochs, founding
from polity_cli.core.messages import NO_POLITY
from polity_cli.core.operation import Order, Outcome, Purpose
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.slot import NO_SLOT, check_slot
from polity_cli.core.tenure import MAX_NODE_BYTES, check_name, check_role
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.network import SerfNetwork
from polity_cli.errors import (
    BadInput,
    FoundingRefused,
    LedgerError,
    NoQuorum,
    NotFounded,
    SerfProtocolError,
    Unfit,
)
from polity_cli.outcomes import error_of_founding
from polity_cli.settings import namespace_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.asking import Watch
    from polity_cli.core.electorate import Electorate
    from polity_cli.core.messages import Register
    from polity_cli.core.quorum import QuorumRule
    from polity_cli.core.tenure import Tenure
    from polity_cli.edges.network import Node
    from polity_cli.edges.serf_rpc import SerfClient

DEFAULT_TIMEOUT_S = 15.0
SMALLEST_UNASKED = 3
_REMEMBER_PATIENCE_S = 0.5
_LOOK_AROUND_S = 1.0


class Session:
    """Operations of one node's user. Not to be shared between threads; close it, or use `with`.

    `founded` is the record of the polity if one was founded in this session, which elections do unasked.
    Every operation raises BadInput for names and limits that cannot be used, SerfError if the agent fails,
    Unfit if this node or the electorate does not allow it, and NoQuorum if too few voters answer.
    """

    def __init__(
        self,
        serf: SerfClient,
        *,
        namespace: str,
        state_dir: str,
        watch: Watch = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.namespace = namespace
        self.node = node_name(serf)
        self._network = SerfNetwork(serf, namespace)
        self._electorate: Electorate | None = None
        self._learned: Electorate | None = None
        self.founded: Electorate | None = None
        path = ledger_path(state_dir, namespace, self.node)
        readable = os.access(path, os.R_OK | os.W_OK)
        # Somebody else's ledger is no obstacle: it only saves round trips here.
        self.ledger = Ledger.open(path, self.node, create=False) if readable else None
        self.conductor = Conductor(
            self._network,
            watch=watch,
            should_stop=should_stop,
            remembered=None if self.ledger is None else self.ledger.witness(),
            sighted=None if self.ledger is None else self.ledger.strangers(),
        )
        self._network.reminders = self.conductor.witness.reminders

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._network.close()
        if self.ledger is not None:
            self.ledger.close()

    @property
    def strange_answers(self) -> int:
        """Answers that could not be read so far: garbage, or of another version of polity."""
        return self._network.strange

    @property
    def set_back(self) -> tuple[str, ...]:
        """Nodes whose voters answered from a ledger that was set back, so that nothing they said counted."""
        return tuple(sorted(self.conductor.witness.set_back))

    def remember_later(self) -> Callable[[], None]:
        """What to do once the outcome is told: remember what was seen of others, in this node's ledger.

        It may be called after the session was closed, and does nothing where there is nothing new.
        """
        serials, sightings = self.conductor.witness.news(), self.conductor.strangers.news()
        ledger, node = self.ledger, self.node

        def remember() -> None:
            if ledger is None or not (serials or sightings):
                return
            with suppress(LedgerError):  # whoever knows less than it might only finds less
                again = Ledger.open(ledger.path, node, create=False, busy_timeout_s=_REMEMBER_PATIENCE_S)
                if again is not None:
                    try:
                        again.remember(serials, sightings)
                    finally:
                        again.close()

        return remember

    def elect(
        self,
        role: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        patient: bool = False,
        quorum_func: Callable[[int], int] | None = None,
        slot: str = NO_SLOT,
    ) -> Outcome:
        """Stand for `role` with this node as candidate; founds the polity first where there is none.

        The verdict is WON, HELD, LOST, TAKEN, NO_QUORUM or UNKNOWN. `quorum_func` may ask for more votes than
        the electorate's rule. For a `slot` the role is won only if that comes after all it was filled for;
        HELD says nothing of the slot.
        """
        if slot != NO_SLOT:
            check_slot(slot)
        return self._run(
            Purpose.ELECT, role, timeout_s, patient, quorum_func=quorum_func, found=True, slot=slot
        )

    def recall(
        self,
        role: str,
        *,
        holder: str | None = None,
        term: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        patient: bool = False,
    ) -> Outcome:
        """Empty `role`, only if `holder` holds it and only in `term`, where given.

        The verdict is RECALLED, VACANT, GUARD, NO_QUORUM or UNKNOWN.
        """
        return self._run(Purpose.RECALL, role, timeout_s, patient, holder=holder, term=term)

    def who(self, role: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, patient: bool = False) -> Outcome:
        """The tenure of `role`, decided by a quorum. The verdict is ANSWER or NO_QUORUM."""
        return self._run(Purpose.QUERY, role, timeout_s, patient)

    def remembered(self, role: str) -> Tenure:
        """What this node's ledger knows of `role`; it may be old. Raises Unfit where there is no ledger."""
        register = self._own_ledger().register(check_role(role))
        if register.accepted.is_fast or register.confirmed_ballot > register.accepted:
            return register.confirmed
        return register.tenure

    def roles(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> tuple[str, ...]:
        """Every role that was ever decided, in byte order."""
        deadline = deadline_of(timeout_s)
        electorate = self.electorate(timeout_s=timeout_s)
        roles = self.conductor.list_roles(electorate, timeout_s=left(deadline))
        self._adopt_what_was_met(electorate)
        return roles

    def remembered_roles(self) -> tuple[str, ...]:
        """Every role this node's ledger has any trace of."""
        return tuple(role for role in self._own_ledger().roles(limit=-1) if role)

    def electorate(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Electorate:
        """The electorate's record; raises NotFounded where nobody knows of one."""
        found = self._known_electorate(timeout_s)
        if found is None:
            raise NotFounded(
                "nobody has founded a polity here",
                hint="found it with `polity found`; the first `polity elect ROLE` does so too",
            )
        return found

    def found(
        self,
        *,
        expect: int | None = None,
        rule: QuorumRule = SimpleMajority,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> tuple[Electorate, bool]:
        """Found the polity with all members that carry the voters' tag; False if it was founded already.

        At least `expect` voters are wanted (by default the rule's minimum, and never fewer than 3). Raises
        FoundingRefused naming who is missing or in the way, OutcomeUnknown if it may be founded all the same.
        """
        deadline = deadline_of(timeout_s)
        known = self._own_record()
        if known is not None:
            return known, False
        members = self._network.members()
        callees = [node for node in members if node.votes and node.status in ("alive", "failed", "leaving")]
        # A polity of one or two is for life: only whoever says so gets it.
        expected = max(rule.min_votes, SMALLEST_UNASKED) if expect is None else expect
        if len(callees) < max(1, expected):
            names = ", ".join(node.name for node in callees) or "none"
            raise FoundingRefused(
                f"a polity of {expected} voters or more is wanted, Serf shows {len(callees)}: {names}",
                hint=f"a voter's node carries the tag {self.namespace}=voter "
                f"(see `polity serf-config{namespace_words(self.namespace)}`); "
                "for fewer voters ask with --expect and --min-votes",
            )
        if len(callees) > wire.MAX_VOTERS:
            raise BadInput(
                f"{len(callees)} nodes carry the voters' tag, {wire.MAX_VOTERS} can vote",
                hint="leave the tag off where a vote is not needed: any node may stand, voter or not",
            )
        outcome = self.conductor.found(
            [node.name for node in callees],
            self.conductor.draws.id(),
            rule,
            timeout_s=left(deadline),
        )
        return self._after_founding(outcome, {node.name: node for node in callees}, deadline)

    @property
    def last_members(self) -> tuple[Node, ...]:
        """The nodes as the last operation saw them; asks nobody."""
        return self._network.last_members

    def members(self) -> tuple[Node, ...]:
        """The nodes Serf knows."""
        return self._network.members()

    def _own_ledger(self) -> Ledger:
        if self.ledger is None:
            raise Unfit(
                f"{self.node} has no ledger that this user can read",
                hint="this node is no voter, or another --state-dir (POLITY_STATE_DIR) holds its ledger; "
                "ask the cluster without --cached",
            )
        return self.ledger

    def _own_record(self) -> Electorate | None:
        """The electorate as this node's own ledger has entered it."""
        if self._electorate is None and self.ledger is not None:
            me = self.ledger.me()
            data = self.ledger.record(me.digest) if me.polity != NO_POLITY else None
            self._electorate = wire.decode_record(data) if data else None
        return self._electorate

    def _known_electorate(self, timeout_s: float) -> Electorate | None:
        if self._own_record() is None:
            learned = self.conductor.learn_electorate(timeout_s=timeout_s)
            if learned is not None:
                self._make_sure_it_is_the_only_one(learned, timeout_s)
                self._electorate = self._learned = learned
        return self._electorate

    def _make_sure_it_is_the_only_one(self, learned: Electorate, timeout_s: float) -> None:
        """Raise TwoPolities before a voter of no polity enters one of two because that answered first."""
        if self.ledger is None or self.ledger.me().polity != NO_POLITY:
            return
        wanted = {node.name for node in self._network.members() if node.votes and node.status == "alive"}
        pages = self.conductor.roll_call(timeout_s=min(timeout_s, _LOOK_AROUND_S), enough=wanted.issubset)
        found = {name: page.polity for name, page in pages.items()}
        if set(found.values()) - {NO_POLITY, learned.polity}:
            raise two_polities(learned.polity, found)

    def adopt(self, electorate: Electorate) -> None:
        """Go on with a newer record, known to be chosen, and let this node's own voter know of it.

        It need not be a voter of it. Who has entered a record takes part in no other founding: else newcomers
        could found a second polity once the voters of the first are dead and Serf has forgotten them.
        """
        if self._electorate is not None and electorate.epoch < self._electorate.epoch:
            return
        self._electorate = electorate
        offers = epochs.offers(self.conductor.draws.id(), electorate, wire, chosen=True)
        with suppress(LedgerError):  # a courtesy: the operation does not need it
            if self.ledger is not None and self.ledger.me().epoch < electorate.epoch:
                for offer in offers:
                    handle(self.ledger, offer)

    def _run(
        self,
        purpose: Purpose,
        role: str,
        timeout_s: float,
        patient: bool,
        *,
        holder: str | None = None,
        term: int | None = None,
        quorum_func: Callable[[int], int] | None = None,
        found: bool = False,
        slot: str = NO_SLOT,
    ) -> Outcome:
        check_role(role)
        deadline = deadline_of(timeout_s)
        electorate = self._known_electorate(timeout_s) if found else self.electorate(timeout_s=timeout_s)
        if electorate is None:
            electorate, _ = self.found(timeout_s=left(deadline))
        population = electorate.current.n
        at_least = 0 if quorum_func is None else quorum_func(population)
        if at_least > population:
            raise BadInput(
                f"the quorum function asks for {at_least} of {population} votes",
                hint="it may ask for more votes than the electorate's rule, but not for more than there are",
            )
        order = Order(
            purpose=purpose,
            role=role,
            node=self.node,
            claim=self.conductor.draws.id(),
            holder=holder,
            term=term,
            at_least=at_least,
            patient=patient,
            slot=slot,
        )
        local = self._hint(role, electorate)
        wanted = None if quorum_func is None else _votes_by(quorum_func)
        outcome = self.conductor.run(
            order, electorate, local=local, timeout_s=left(deadline), at_least_of=wanted
        )
        self._adopt_what_was_met(electorate)
        return outcome

    def _adopt_what_was_met(self, electorate: Electorate) -> None:
        """Enter what was learnt before or in an operation that met no other polity, and only then."""
        met = self.conductor.electorate or electorate
        if met != electorate or self._learned is not None:
            self._learned = None
            self.adopt(met)

    def _hint(self, role: str, electorate: Electorate) -> Register | None:
        """What this node's voter remembers of a role, if it is a voter and has entered this very record.

        What it remembers from an older epoch would have the operation stand where everybody refuses, and end
        as unknown.
        """
        if self.ledger is None:
            return None
        me, register = self.ledger.view(role)
        is_current = (me.polity, me.epoch) == (electorate.polity, electorate.epoch)
        return register if is_current and electorate.node_of(me.voter) == self.node else None

    def _after_founding(
        self, outcome: founding.Outcome, callees: dict[str, Node], deadline: float
    ) -> tuple[Electorate, bool]:
        match outcome.verdict:
            case founding.Verdict.FOUNDED:
                assert outcome.record is not None
                self._electorate = self.founded = outcome.record
                return outcome.record, True
            case founding.Verdict.ALREADY:
                known = self._known_electorate(left(deadline))
                if known is None:
                    raise NoQuorum("a founded polity answered and then fell silent", hint="try again")
                return known, False
            case _:
                status = {node.name: node.status for node in callees.values()}
                raise error_of_founding(outcome, status, self.namespace)


def _votes_by(quorum_func: Callable[[int], int]) -> Callable[[Electorate], int]:
    return lambda electorate: max(quorum_func(roll.n) for roll in electorate.rolls)


def node_name(serf: SerfClient) -> str:
    """The name of the node whose agent this is. Raises Unfit for one that no ledger could be kept for."""
    name = serf.stats().get("agent", {}).get("name")
    if not name:
        raise SerfProtocolError("the agent does not tell its node's name")
    try:
        return check_name(name, "node name", MAX_NODE_BYTES)
    except BadInput as error:
        raise Unfit(str(error), hint="give the agent another name: serf agent -node=NAME") from error
