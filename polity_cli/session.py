"""One user's access to a polity through the local Serf agent: every operation, each with its whole story.

A session finds out what an operation needs (the node's name, the electorate, what this node's own ledger
remembers), runs it, and turns outcomes into errors that an operator can act on. It waits where it is
called; `Polity` puts it behind futures, the commands behind exit codes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic

from polity_cli.asking import two_polities
from polity_cli.booth import handle
from polity_cli.conduct import Conductor
from polity_cli.core import founding
from polity_cli.core.candidacy import Order, Outcome, Purpose, Verdict
from polity_cli.core.messages import NO_POLITY, Offer
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.tenure import MAX_NODE_BYTES, check_name, check_role
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.network import SerfNetwork
from polity_cli.errors import (
    BadInput,
    FoundingRefused,
    GuardFailed,
    LedgerError,
    LostElection,
    NoQuorum,
    NotFounded,
    OutcomeUnknown,
    PolityError,
    RoleUnfilled,
    SerfProtocolError,
    Unfit,
)

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
        path = ledger_path(state_dir, namespace, self.node)
        readable = os.access(path, os.R_OK | os.W_OK)
        # Somebody else's ledger is no obstacle: it only saves round trips here.
        self.ledger = Ledger.open(path, self.node, create=False) if readable else None
        self.conductor = Conductor(
            self._network,
            watch=watch,
            should_stop=should_stop,
            remembered=None if self.ledger is None else self.ledger.witness(),
        )

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
        """What to do once the outcome is told: remember what serials were seen, in this node's ledger.

        It may be called after the session was closed, and does nothing where there is nothing new.
        """
        news, ledger, node = self.conductor.witness.news(), self.ledger, self.node

        def remember() -> None:
            if ledger is None or not news:
                return
            with suppress(LedgerError):  # whoever knows less than it might only finds less
                again = Ledger.open(ledger.path, node, create=False, busy_timeout_s=_REMEMBER_PATIENCE_S)
                if again is not None:
                    try:
                        again.remember(news)
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
    ) -> Outcome:
        """Stand for `role` with this node as candidate; founds the polity first where there is none.

        The verdict is WON, HELD, LOST, NO_QUORUM or UNKNOWN. `quorum_func` may ask for more votes than the
        electorate's rule.
        """
        return self._run(Purpose.ELECT, role, timeout_s, patient, quorum_func=quorum_func, found=True)

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
        deadline = _deadline(timeout_s)
        electorate = self.electorate(timeout_s=timeout_s)
        roles = self.conductor.list_roles(electorate, timeout_s=_left(deadline))
        if self.conductor.electorate not in (None, electorate):
            self.adopt(self.conductor.electorate)
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
        deadline = _deadline(timeout_s)
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
                hint=f"a voter's node carries the tag {self.namespace}=voter (see `polity serf-config`); "
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
            timeout_s=_left(deadline),
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
                self.adopt(learned)
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
        data = wire.encode_record(electorate)
        pages = wire.pages(data)
        attempt = self.conductor.draws.id()
        with suppress(LedgerError):  # a courtesy: the operation does not need it
            if self.ledger is not None and self.ledger.me().epoch < electorate.epoch:
                for at, page in enumerate(pages):
                    handle(self.ledger, Offer(attempt, wire.digest(data), at, len(pages), page, True))

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
    ) -> Outcome:
        check_role(role)
        deadline = _deadline(timeout_s)
        electorate = self._known_electorate(timeout_s) if found else self.electorate(timeout_s=timeout_s)
        if electorate is None:
            electorate, _ = self.found(timeout_s=_left(deadline))
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
        )
        local = self._hint(role, electorate)
        outcome = self.conductor.run(order, electorate, local=local, timeout_s=_left(deadline))
        if self.conductor.electorate not in (None, electorate):
            self.adopt(self.conductor.electorate)
        return outcome

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
        def say(names: tuple[str, ...]) -> str:
            return ", ".join(f"{n} ({callees[n].status})" if n in callees else n for n in names)

        match outcome.verdict:
            case founding.Verdict.FOUNDED:
                assert outcome.record is not None
                self._electorate = outcome.record
                return outcome.record, True
            case founding.Verdict.ALREADY:
                known = self._known_electorate(_left(deadline))
                if known is None:
                    raise NoQuorum("a founded polity answered and then fell silent", hint="try again")
                return known, False
            case founding.Verdict.UNKNOWN:
                raise OutcomeUnknown(
                    f"the polity may be founded or not: no acceptance seen from {say(outcome.missing)}",
                    hint="run `polity found` again: it completes this founding or finds it completed",
                )
            case founding.Verdict.CLONED if len(outcome.missing) == 1:
                raise FoundingRefused(
                    f"{outcome.missing[0]} answers with two voter ids",
                    hint="two ledgers are in use there: hook and agent must have the same POLITY_STATE_DIR",
                )
            case founding.Verdict.CLONED:
                raise FoundingRefused(
                    f"these nodes have one and the same voter id: {', '.join(outcome.missing)}",
                    hint="one ledger was copied; move the copy's ledger away, then found again",
                )
            case founding.Verdict.CLASH if outcome.other is None:
                raise FoundingRefused(
                    "another founding is under way and did not end in time",
                    hint="wait for it, or run `polity found` again",
                )
            case founding.Verdict.CLASH:
                theirs = ", ".join(e.node for e in outcome.other.voters) if outcome.other else ""
                raise FoundingRefused(
                    f"a founding with other voters may have been completed: {theirs}; "
                    f"this one wants {', '.join(outcome.mine)}",
                    hint="bring all of them into this cluster and found again, or move the ledgers of the "
                    "nodes that are in the way",
                )
            case _:
                raise FoundingRefused(
                    f"no answer from {say(outcome.missing)}; all {len(outcome.mine)} nodes with the voters' "
                    "tag must answer a founding",
                    hint="start the voter there (`polity doctor` on that node tells what it lacks). A node "
                    f"that is not to vote must not carry the tag {self.namespace}=voter; one gone for good "
                    "is removed with `serf force-leave -prune NODE`",
                )


def node_name(serf: SerfClient) -> str:
    """The name of the node whose agent this is. Raises Unfit for one that no ledger could be kept for."""
    name = serf.stats().get("agent", {}).get("name")
    if not name:
        raise SerfProtocolError("the agent does not tell its node's name")
    try:
        return check_name(name, "node name", MAX_NODE_BYTES)
    except BadInput as error:
        raise Unfit(str(error), hint="give the agent another name: serf agent -node=NAME") from error


def error_of(order: tuple[Purpose, str], outcome: Outcome, electorate: Electorate) -> PolityError | None:
    """The error that tells this outcome of an operation on a role; None where it is a plain yes."""
    purpose, role = order
    tenure = outcome.tenure
    silent = ", ".join(outcome.silent)
    match outcome.verdict:
        case Verdict.LOST:
            assert tenure is not None
            assert tenure.holder is not None
            return LostElection(
                f"{tenure.holder} holds {role} (term {tenure.term})",
                holder=tenure.holder,
                term=tenure.term,
                hint=f"fine if that is as it should be; else `polity recall {shell_word(role)}` empties it",
            )
        case Verdict.GUARD:
            assert tenure is not None
            return GuardFailed(
                f"{role} is held by {tenure.holder} in term {tenure.term}, so nothing was recalled",
                hint="the holder or the term is not the one you named",
            )
        case Verdict.VACANT:
            return RoleUnfilled(f"nobody holds {role}", hint=f"`polity elect {shell_word(role)}` fills it")
        case Verdict.NO_QUORUM:
            return NoQuorum(
                f"no quorum for {role}: {outcome.required} of {outcome.population} voters are needed"
                + (f"; no answer from {silent}" if silent else ""),
                hint="nothing of this command can take effect later: try again freely; see `polity voters`",
            )
        case Verdict.UNKNOWN:
            doing = "candidacy" if purpose is Purpose.ELECT else "recall"
            why = f"; no answer from {silent}" if silent else ""
            if tenure is not None:
                why = f"; the role has gone on to term {tenure.term} since"
            return OutcomeUnknown(
                f"it is not known whether the {doing} for {role} took effect{why}",
                hint=f"it is on record with some voters: whoever asks next with a quorum completes it or "
                f"discards it. Ask `polity who {shell_word(role)}` once {electorate.current.q} voters answer",
            )
    return None


def _deadline(timeout_s: float) -> float:
    if not timeout_s > 0:
        raise BadInput(f"the time limit must be above 0 seconds, not {timeout_s:g}")
    return monotonic() + timeout_s


def _left(deadline: float) -> float:
    return max(0.001, deadline - monotonic())


def shell_word(role: str) -> str:
    """A role's name as a shell and the commands want it."""
    plain = all(c.isalnum() or c in "-_./" for c in role)
    word = role if plain else "'" + role.replace("'", "'\\''") + "'"
    return f"-- {word}" if role.startswith("-") else word
