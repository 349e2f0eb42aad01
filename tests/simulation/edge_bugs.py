"""Bugs to plant outside the rules: in the booth, the ledgers, the wire, the loop, in where ids come from.

The rules stay as they are; what carries them is broken, each time by a few lines. `ON_MEMORY` and
`ON_SQLITE` are caught by random schedules, on the ledger's twin and on real ledgers; for each of `DIRECTED`
there is a test of its own in `test_edge_bugs.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from polity_cli import booth, conduct
from polity_cli.core import candidacy, guided, operation, voter
from polity_cli.core import messages as m
from polity_cli.core.ballot import CLASSIC, ID_BYTES, ZERO, Ballot
from polity_cli.core.operation import Candidacy, Move, Phase, Verdict
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import VACANT, Tenure
from polity_cli.edges import wire
from polity_cli.edges.ledger import Transaction
from polity_cli.edges.memory_ledger import MemoryLedger, MemoryTransaction
from polity_cli.edges.network import Heard
from tests.simulation import chaos
from tests.simulation.world import voter_id

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
ON_MEMORY: dict[str, Plant] = {}
ON_SQLITE: dict[str, Plant] = {}
DIRECTED: dict[str, Plant] = {}


def caught(where: dict[str, Plant]) -> Callable[[Plant], Plant]:
    def add(plant: Plant) -> Plant:
        where[plant.__name__] = plant
        return plant

    return add


# The booth and the ledgers.


@caught(ON_MEMORY)
def it_speaks_before_it_saves(patch: Patch) -> None:
    """What was promised is saved when the next message comes, unless the process ends before."""
    # By ledger, not by its address: the next schedule's may be at the same one.
    unsaved: WeakKeyDictionary[booth.VoterLedger, dict[str, m.Register]] = WeakKeyDictionary()
    shipped = booth.handle

    def handle(ledger: booth.VoterLedger, message: m.Message) -> m.Reply | None:
        if not isinstance(message, m.Prepare | m.Accept | m.Stand):
            return shipped(ledger, message)
        with ledger.transaction(message.role) as turn:
            register = unsaved.get(ledger, {}).pop(message.role, turn.register)
            step = voter.receive(turn.me, register, message)
            turn.save(register)
        unsaved.setdefault(ledger, {})[message.role] = step.register
        return step.reply

    patch.setattr(booth, "handle", handle)


@caught(ON_MEMORY)
def only_what_was_accepted_is_saved(patch: Patch) -> None:
    """Promises are thought to be cheap."""
    shipped = MemoryTransaction.save

    def save(self: MemoryTransaction, register: m.Register) -> None:
        if register.accepted != self.register.accepted:
            shipped(self, register)

    patch.setattr(MemoryTransaction, "save", save)


@caught(ON_SQLITE)
def a_commit_waits_for_the_next_one(patch: Patch) -> None:
    """One sync for two transactions, twice as fast: what the connection shows is not on the disk yet."""
    shipped = Transaction.__enter__

    def enter(self: Transaction) -> Transaction:
        if self._ledger._db.in_transaction:
            self._ledger._db.execute("COMMIT")
        return shipped(self)

    def leave(self: Transaction, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self._ledger._db.execute("ROLLBACK")

    patch.setattr(Transaction, "__enter__", enter)
    patch.setattr(Transaction, "__exit__", leave)


@caught(DIRECTED)
def a_turn_takes_no_lock(patch: Patch) -> None:
    """Each statement on its own is safe, so SQLite's automatic commits must do."""

    def enter(self: Transaction) -> Transaction:
        self.me, self.register = self._ledger._view(self._role)
        return self

    patch.setattr(Transaction, "__enter__", enter)
    patch.setattr(Transaction, "__exit__", lambda self, kind, error, trace: None)


@caught(ON_MEMORY)
def a_role_is_known_by_its_first_word(patch: Patch) -> None:
    view, transaction = MemoryLedger.view, MemoryLedger.transaction
    patch.setattr(MemoryLedger, "view", lambda self, role: view(self, role.split(" ")[0]))
    patch.setattr(MemoryLedger, "transaction", lambda self, role: transaction(self, role.split(" ")[0]))


@caught(ON_MEMORY)
def a_voter_that_lost_its_ledger_has_its_old_id(patch: Patch) -> None:
    """As if the id came from the node's name."""
    patch.setattr(chaos, "stranger_id", voter_id)


@caught(DIRECTED)
def a_voter_id_comes_from_the_name_of_its_node(patch: Patch) -> None:
    patch.setattr("polity_cli.edges.ledger_file.os.urandom", lambda size: b"node one"[:size])


# The wire.


def _read_fields(
    patch: Patch, shipped: Callable[[object], object], other: Callable[[object], object]
) -> None:
    """Let one kind of field be read in another way."""
    shapes = {
        kind: (shape, tuple(other if check is shipped else check for check in checks))
        for kind, (shape, checks) in wire._SHAPES.items()
    }
    patch.setattr(wire, "_SHAPES", shapes)


@caught(ON_MEMORY)
def a_fast_ballot_travels_as_a_classic_one(patch: Patch) -> None:
    shipped = wire._ballot

    def classic(value: object) -> Ballot:
        return shipped(value)._replace(kind=CLASSIC)

    _read_fields(patch, shipped, classic)


@caught(ON_MEMORY)
def what_a_tenure_follows_is_not_sent(patch: Patch) -> None:
    shipped = wire._tenure

    def tenure(value: object) -> Tenure:
        return shipped(value)._replace(after=b"")

    _read_fields(patch, shipped, tenure)


@caught(ON_MEMORY)
def a_stranger_counts_for_the_voter_of_its_node(patch: Patch) -> None:
    """Whoever answers from that node is taken for the voter that is enrolled there."""
    shipped = wire.decode_reply

    def decode_reply(data: bytes) -> m.Reply:
        reply = shipped(data)
        for number in range(5):
            if reply.voter == b"other%03d" % number:
                return reply._replace(voter=voter_id(number))
        return reply

    patch.setattr(wire, "decode_reply", decode_reply)


# What operations make of the world.


@caught(DIRECTED)
def late_answers_of_another_attempt_count(patch: Patch) -> None:
    shipped = candidacy.hear

    def hear(c: Candidacy, state: m.State, now_s: float, draws: operation.Draws) -> Move:
        return shipped(c, state._replace(attempt=c.attempt), now_s, draws)

    patch.setattr(candidacy, "hear", hear)


def _give_up(patch: Patch, verdict: Verdict) -> None:
    shipped = candidacy.give_up

    def give_up(c: Candidacy) -> Move:
        move = shipped(c)
        outcome = move.candidacy.outcome
        if c.outcome is not None or outcome is None or outcome.verdict is not Verdict.UNKNOWN:
            return move
        seen = max((state.tenure for _, state in c.states), key=lambda t: t.term, default=VACANT)
        return Move(
            move.candidacy._replace(
                outcome=outcome._replace(verdict=verdict, tenure=seen, may_take_effect=False)
            )
        )

    patch.setattr(candidacy, "give_up", give_up)


@caught(ON_MEMORY)
def a_time_out_is_reported_as_lost(patch: Patch) -> None:
    _give_up(patch, Verdict.LOST)


@caught(ON_MEMORY)
def a_time_out_is_reported_as_no_quorum(patch: Patch) -> None:
    _give_up(patch, Verdict.NO_QUORUM)


@caught(ON_MEMORY)
def what_was_proposed_is_announced_as_chosen(patch: Patch) -> None:
    shipped = candidacy.give_up

    def give_up(c: Candidacy) -> Move:
        move = shipped(c)
        outcome = move.candidacy.outcome
        if c.phase is not Phase.ACCEPT or outcome is None or c.proposal is None:
            return move
        return Move(move.candidacy._replace(outcome=outcome._replace(chosen=Chosen(c.ballot, c.proposal))))

    patch.setattr(candidacy, "give_up", give_up)


@caught(ON_MEMORY)
def a_node_proposes_by_its_name(patch: Patch) -> None:
    """The proposer of a ballot is the node, not the attempt: two operations of one node share ballots."""
    shipped = candidacy._new_ballot

    def new_ballot(c: Candidacy, draws: operation.Draws) -> Candidacy:
        c = shipped(c, draws)
        return c._replace(ballot=c.ballot._replace(proposer=c.order.node.encode().ljust(ID_BYTES, b"-")))

    patch.setattr(candidacy, "_new_ballot", new_ballot)


@caught(DIRECTED)
def a_refusal_counts_as_agreement(patch: Patch) -> None:
    """Whatever a voter answers, it has answered."""
    shipped = conduct.Conductor._hear

    def hear(self: conduct.Conductor, g: guided.Guided, heard: Heard) -> guided.Move:
        c, reply = g.candidacy, heard.reply
        if isinstance(reply, m.Refusal):
            accepted = (c.ballot, c.proposal) if c.phase is Phase.ACCEPT else (ZERO, VACANT)
            reply = m.State(
                reply.attempt,
                reply.voter,
                c.electorate.polity,
                c.electorate.epoch,
                c.ballot,
                accepted[0],
                accepted[1] or VACANT,
                ZERO,
                VACANT,
            )
        return shipped(self, g, Heard(heard.node, reply))

    patch.setattr(conduct.Conductor, "_hear", hear)
