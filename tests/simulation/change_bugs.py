"""Bugs to plant in changes of the electorate, and what looks like one and is harmless; see `bugs.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import pytest

from polity_cli import booth
from polity_cli.core import candidacy, change, operation, tally, voter
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.change_state import Change, Move, Phase
from polity_cli.core.electorate import Electorate, Roll
from polity_cli.core.operation import Candidacy, Purpose
from polity_cli.core.recovery import recover
from polity_cli.core.tenure import ELECTORATE, Tenure
from polity_cli.edges.memory_ledger import MemoryLedger, MemoryTransaction

if TYPE_CHECKING:
    from polity_cli.booth import VoterLedger
    from polity_cli.core.epochs import Codec
    from polity_cli.core.operation import Draws

Patch = pytest.MonkeyPatch
BUGS: dict[str, Callable[[Patch], None]] = {}
HARMLESS: dict[str, Callable[[Patch], None]] = {}


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    BUGS[plant.__name__] = plant
    return plant


def harmless(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    HARMLESS[plant.__name__] = plant
    return plant


# What a voter does.


@bug
def a_record_is_entered_when_it_is_accepted(patch: Patch) -> None:
    """Another one may be chosen in its place."""

    def save(self: MemoryTransaction, register: m.Register) -> None:
        is_new = self._role == ELECTORATE and register.accepted > self.register.accepted
        self.register = register
        if is_new and register.tenure.holder is not None and register.tenure.term > self.me.epoch:
            digest = bytes.fromhex(register.tenure.holder)
            self.enter(self.me._replace(epoch=register.tenure.term, digest=digest))

    patch.setattr(MemoryTransaction, "save", save)


@bug
def an_older_epoch_is_not_refused(patch: Patch) -> None:
    shipped = voter.receive

    def receive(
        me: voter.Self,
        register: m.Register,
        message: m.RoleQuery | m.Announce,
        held: Collection[bytes] = (),
    ) -> voter.Step:
        if me.polity == message.polity and message.role != ELECTORATE:
            me = me._replace(epoch=min(me.epoch, message.epoch))
        return shipped(me, register, message, held)

    patch.setattr(voter, "receive", receive)


def _list_in_any_epoch(patch: Patch) -> None:
    shipped = booth._list_roles

    def list_roles(ledger: VoterLedger, query: m.ListRoles) -> m.Reply:
        me = ledger.me()
        answer = shipped(ledger, query._replace(polity=me.polity, epoch=me.epoch))
        return answer._replace(polity=query.polity, epoch=query.epoch)

    patch.setattr(booth, "_list_roles", list_roles)


@bug
def roles_are_listed_before_the_joint_epoch_is_entered(patch: Patch) -> None:
    """What is decided in the old epoch after that is forgotten."""
    _list_in_any_epoch(patch)
    shipped = change._enter

    def enter(c: Change, phase: Phase, now_s: float, codec: Codec) -> Move:
        if phase is Phase.ENTER and change._next(c).is_joint:
            return change._list(
                c._replace(electorate=change._next(c), record=None), now_s, _Ids(c.attempt), codec
            )
        return shipped(c, phase, now_s, codec)

    patch.setattr(change, "_enter", enter)


class _Ids:
    """Draws for a step that is given none."""

    def __init__(self, last: bytes) -> None:
        self._last = last

    def id(self) -> bytes:
        self._last = bytes(255 - byte for byte in self._last)
        return self._last

    def jitter(self) -> float:
        return 0.5

    def round_floor(self) -> int:
        return 0


@bug
def bare_promises_are_not_listed(patch: Patch) -> None:
    shipped = MemoryLedger.roles

    def roles(self: MemoryLedger, after: str = "", limit: int = 1000) -> list[str]:
        return [role for role in shipped(self, after, limit) if self.view(role)[1].accepted != ZERO]

    patch.setattr(MemoryLedger, "roles", roles)


# What a quorum is.


def _quorum_of(patch: Patch, pick: Callable[[Electorate], Roll]) -> None:
    def is_quorum(self: Electorate, ids: Collection[bytes], *, at_least: int = 0) -> bool:
        roll = pick(self)
        return roll.count(ids) >= max(roll.q, at_least)

    patch.setattr(Electorate, "is_quorum", is_quorum)


def _judge_new_votes_where_there_are_no_old_ones(patch: Patch) -> None:
    shipped = tally.current_of

    def current_of(states: tally.States, electorate: Electorate, ballot: Ballot) -> Tenure:
        if any(electorate.current.node_of(v) for v in tally.promises(states, ballot)):
            return shipped(states, electorate, ballot)
        return shipped(states, electorate._replace(rolls=electorate.rolls[::-1]), ballot)

    patch.setattr(tally, "current_of", current_of)


@bug
def the_new_voters_alone_are_a_joint_quorum(patch: Patch) -> None:
    _quorum_of(patch, lambda record: record.goal)
    _judge_new_votes_where_there_are_no_old_ones(patch)


@bug
def the_old_voters_alone_are_a_joint_quorum(patch: Patch) -> None:
    _quorum_of(patch, lambda record: record.current)


class _Open(Electorate):
    """A joint record that nobody takes for one."""

    is_joint = property(lambda self: False)


@bug
def nodes_stand_in_a_joint_epoch(patch: Patch) -> None:
    """A fast round there, decided by the new roll's number of votes."""
    patch.setattr(voter, "is_joint_epoch", lambda epoch: False)
    patch.setattr(Electorate, "fast_quorum", property(lambda self: self.goal.f))
    patch.setattr(
        Electorate,
        "is_fast_quorum",
        lambda self, ids, at_least=0: self.goal.count(ids) >= max(self.goal.f, at_least),
    )
    begin, enter_epoch = candidacy.begin, candidacy.enter_epoch
    patch.setattr(
        candidacy, "begin", lambda order, electorate, **rest: begin(order, _Open(*electorate), **rest)
    )
    patch.setattr(
        candidacy,
        "enter_epoch",
        lambda c, electorate, now_s, draws: enter_epoch(c, _Open(*electorate), now_s, draws),
    )


def _recover_by(patch: Patch, pick: Callable[[Electorate], Roll]) -> None:
    def current_of(states: tally.States, electorate: Electorate, ballot: Ballot) -> Tenure:
        promised = tally.promises(states, ballot)
        roll = pick(electorate)
        return recover({v: s for v, s in states.items() if v in promised and roll.node_of(v)}, roll)

    patch.setattr(tally, "current_of", current_of)


@bug
def fast_votes_of_old_are_judged_by_the_new_roll(patch: Patch) -> None:
    _recover_by(patch, lambda record: record.goal)


@bug
def the_new_voters_are_not_heard_in_a_joint_epoch(patch: Patch) -> None:
    """What they alone accepted there is chosen once they are the only voters."""
    _recover_by(patch, lambda record: record.current)


# What a coordinator does.


@bug
def nothing_is_carried_over(patch: Patch) -> None:
    shipped = change._carry_next

    def carry_next(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
        return shipped(c._replace(roles=()), now_s, draws, codec)

    patch.setattr(change, "_carry_next", carry_next)


def _carry_by(patch: Patch, pick: Callable[[Electorate], Roll]) -> None:
    shipped = candidacy._is_quorum

    def is_quorum(c: Candidacy, ids: Collection[bytes]) -> bool:
        if c.order.purpose is not Purpose.CARRY:
            return shipped(c, ids)
        roll = pick(c.electorate)
        return roll.count(ids) >= roll.q

    patch.setattr(candidacy, "_is_quorum", is_quorum)


@bug
def roles_are_carried_by_the_old_voters_only(patch: Patch) -> None:
    _carry_by(patch, lambda record: record.current)


@bug
def roles_are_carried_by_the_new_voters_only(patch: Patch) -> None:
    _carry_by(patch, lambda record: record.goal)
    _judge_new_votes_where_there_are_no_old_ones(patch)


@bug
def the_new_voters_list_the_roles(patch: Patch) -> None:
    """They need not have heard of any."""
    shipped_list, shipped_carry = change._take_list, change._carry_next
    right: dict[int, Electorate] = {}

    def take_list(c: Change, answer: m.RoleList, now_s: float, draws: Draws, codec: Codec) -> Move:
        right[c.electorate.epoch] = c.electorate
        turned = c.electorate._replace(rolls=c.electorate.rolls[::-1])
        move = shipped_list(c._replace(electorate=turned), answer, now_s, draws, codec)
        return move._replace(change=move.change._replace(electorate=c.electorate))

    def carry_next(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
        return shipped_carry(c._replace(electorate=right[c.electorate.epoch]), now_s, draws, codec)

    patch.setattr(change, "_take_list", take_list)
    patch.setattr(change, "_carry_next", carry_next)


@bug
def a_second_coordinator_trusts_the_first(patch: Patch) -> None:
    """Whoever finds a joint epoch takes its roles for carried over."""
    shipped = change.begin

    def begin(
        electorate: Electorate,
        target: Roll | None,
        *,
        node: str,
        alive: Collection[bytes] | None,
        now_s: float,
        draws: Draws,
        codec: Codec,
        patient: bool = False,
    ) -> Move:
        move = shipped(
            electorate,
            target,
            node=node,
            alive=alive,
            now_s=now_s,
            draws=draws,
            codec=codec,
            patient=patient,
        )
        return change._prepare(move.change, now_s, draws, codec) if electorate.is_joint else move

    patch.setattr(change, "begin", begin)


# What is harmless.


@harmless
def a_last_record_that_somebody_accepted_is_not_prepared_for_again(patch: Patch) -> None:
    """Whoever had it accepted has listed and carried: that stays so, whoever asks for it the next time."""
    a_second_coordinator_trusts_the_first(patch)
    shipped = change._recover

    def recover(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
        promised = [state for voter, state in c.states if voter in c.done_by]
        is_known = any(state.tenure.term == c.electorate.epoch + 1 for state in promised)
        has_listed = c.after or c.lists
        if c.electorate.is_joint and not is_known and not has_listed:
            return change._list(c, now_s, draws, codec)
        return shipped(c, now_s, draws, codec)

    patch.setattr(change, "_recover", recover)


@harmless
def the_last_record_is_chosen_by_the_new_voters_alone(patch: Patch) -> None:
    """There is no other that could be chosen in its place."""
    shipped = change._take_state

    def take_state(c: Change, state: m.State, now_s: float, draws: Draws, codec: Codec) -> Move:
        if not c.electorate.is_joint:
            return shipped(c, state, now_s, draws, codec)
        alone = c.electorate._replace(rolls=c.electorate.rolls[1:])
        move = shipped(c._replace(electorate=alone), state, now_s, draws, codec)
        return move._replace(change=move.change._replace(electorate=c.electorate))

    patch.setattr(change, "_take_state", take_state)
    recover = change._recover

    def whole(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
        if not c.electorate.is_joint and c.electorate.epoch % 2 == 0:
            return change._propose(c, c.electorate._replace(epoch=c.electorate.epoch + 1), now_s, codec)
        return recover(c, now_s, draws, codec)

    patch.setattr(change, "_recover", whole)


@harmless
def a_ballot_goes_on_in_the_next_epoch(patch: Patch) -> None:
    """Roles known by a bare promise are carried over at a ballot above it."""
    shipped = candidacy.enter_epoch

    def enter_epoch(c: Candidacy, electorate: Electorate, now_s: float, draws: Draws) -> operation.Move:
        if c.phase not in (operation.Phase.PREPARE, operation.Phase.ACCEPT):
            return shipped(c, electorate, now_s, draws)
        c = c._replace(electorate=electorate, alive=frozenset(e.voter for e in electorate.voters))
        return candidacy._enter(c, c.phase, now_s)

    patch.setattr(candidacy, "enter_epoch", enter_epoch)
