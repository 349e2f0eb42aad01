"""Wishes made true: what is looked at again when others change the electorate meanwhile, and what is told."""

from __future__ import annotations

from typing import cast

import pytest

from polity_cli import asking, registrar
from polity_cli.conduct import Conductor
from polity_cli.core import messages as m
from polity_cli.core.electorate import Electorate, Enrolled
from polity_cli.core.enrolment import Wish
from polity_cli.edges import wire
from polity_cli.edges.network import Node
from polity_cli.errors import BadInput, NoQuorum, OutcomeUnknown, Unfit
from polity_cli.session import Session
from tests.fake_network import FakeNetwork, SeededDraws, voter_id
from tests.test_change import polity, roll


class Desk:
    """What a registrar needs of a session, on a network in memory."""

    def __init__(self, network: FakeNetwork, record: Electorate, node: str, seed: int = 1) -> None:
        self.node = node
        self.namespace = "polity"
        self.network = network
        self.record = record
        self.conductor = Conductor(network, clock=network.clock, draws=SeededDraws(seed))

    def electorate(self, *, timeout_s: float) -> Electorate:
        return self.record

    def adopt(self, record: Electorate) -> None:
        self.record = record

    def members(self) -> tuple[Node, ...]:
        return self.network.members()


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> list[FakeNetwork]:
    """Deadlines go by the clock of the network that was made last."""
    networks: list[FakeNetwork] = []
    monkeypatch.setattr(asking, "monotonic", lambda: networks[-1].clock())
    return networks


def desk(
    networks: list[FakeNetwork], network: FakeNetwork, record: Electorate, node: str, seed: int = 1
) -> Session:
    networks.append(network)
    return cast(Session, Desk(network, record, node, seed))


def test_a_change_made_by_another_meanwhile_is_looked_at_before_ones_own_is_proposed(
    clocks: list[FakeNetwork],
) -> None:
    network, record = polity(5, 5)
    network.kill("n5")
    one, two = (desk(clocks, network, record, f"n{n}", n) for n in (3, 4))
    first, second = (registrar.assembly(it, timeout_s=5) for it in (one, two))
    wishes = [registrar.wish_to_remove([name], first) for name in ("n1", "n2")]
    assert [registrar.plan(wish, first).lacks for wish in wishes] == [0, 0]
    assert registrar.carry_out(one, wishes[0], first, timeout_s=20).electorate.epoch == 3
    with pytest.raises(Unfit, match="2 of the 3 voters"):
        registrar.carry_out(two, wishes[1], second, timeout_s=20)
    assert {network.voters[f"n{n}"].me().epoch for n in (2, 3, 4)} == {3}
    # Whoever insists gets it.
    found = registrar.assembly(two, timeout_s=5)
    with pytest.raises(OutcomeUnknown):
        registrar.carry_out(two, wishes[1], found, timeout_s=5, may_block=True)


def test_what_was_proposed_and_not_seen_to_be_decided_is_never_told_as_nothing(
    clocks: list[FakeNetwork],
) -> None:
    network, record = polity(3, 4)

    def on_ask(message: m.Query) -> None:
        if isinstance(message, m.Accept):
            # One voter knows the record to be chosen and says so; then nobody is heard any more.
            network.enter(record.joint_with(roll(1, 2, 3, 4)), "n3")
        elif isinstance(message, m.Fetch):
            network.down.update(network.voters)

    it = desk(clocks, network, record, "n1")
    found = registrar.assembly(it, timeout_s=5)
    network.on_ask = on_ask
    wish = Wish(enrol=(Enrolled(voter_id(4), "n4"),))
    with pytest.raises(OutcomeUnknown, match="not known whether the change was decided"):
        registrar.carry_out(it, wish, found, timeout_s=8)


def test_a_change_that_finds_no_quorum_says_that_nothing_of_it_can_come(clocks: list[FakeNetwork]) -> None:
    network, record = polity(3, 4)
    it = desk(clocks, network, record, "n1")
    found = registrar.assembly(it, timeout_s=5)
    network.down.update({"n2", "n3"})
    with pytest.raises(NoQuorum) as caught:
        registrar.carry_out(it, Wish(enrol=(Enrolled(voter_id(4), "n4"),)), found, timeout_s=3)
    assert "nothing of this command can take effect later" in caught.value.hint


def test_whoever_missed_a_change_is_not_told_that_there_is_nothing_to_do(clocks: list[FakeNetwork]) -> None:
    network, record = polity(4, 4)
    network.down.add("n4")
    first = desk(clocks, network, record, "n1")
    found = registrar.assembly(first, timeout_s=5)
    registrar.carry_out(first, registrar.wish_to_remove(["n4"], found), found, timeout_s=20)
    network.down = {"n1", "n2", "n3"}
    late = desk(clocks, network, record, "n4", 2)
    found = registrar.assembly(late, timeout_s=5)
    with pytest.raises(NoQuorum):
        registrar.carry_out(late, registrar.wish_to_add(late, ["n4"], found), found, timeout_s=3)
    network.down.clear()
    changed = registrar.carry_out(late, Wish(enrol=(Enrolled(voter_id(4), "n4"),)), found, timeout_s=20)
    assert (changed.electorate.epoch, changed.electorate.current) == (5, roll(1, 2, 3, 4))
    entered = network.voters["n4"]
    assert wire.decode_record(entered.record(entered.me().digest) or b"") == changed.electorate


def test_who_votes_already_does_not_take_anothers_place(clocks: list[FakeNetwork]) -> None:
    network, record = polity(3, 4)
    it = desk(clocks, network, record, "n1")
    found = registrar.assembly(it, timeout_s=5)
    with pytest.raises(BadInput, match="n2 votes already"):
        registrar.wish_to_replace(it, "n3", "n2", found)
    wish = registrar.wish_to_replace(it, "n3", "n4", found)
    assert {e.node for e in registrar.plan(wish, found).target.voters} == {"n1", "n2", "n4"}
